"""An app whose master process has asked its store when it forks its workers, for uWSGI."""

from __future__ import annotations

import json
import os
import threading

from tests.support import bearer
from tests.support.waiting import until

from .revoking_site import create_app
from .session_site import SETTINGS

#: What uWSGI imports, in its master.
application = create_app(json.loads(os.environ[SETTINGS]))

with application.test_client() as _client:
    _tokens = _client.post("/login/master").get_json()
    assert _client.get("/guarded", headers=bearer(_tokens[0])).status_code == 200

# A fork in C while a thread of Python waits for its turn leaves it to chance whether the child's
# interpreter switches between threads. That thread ends by itself.
until(lambda: "authx-deadlines" not in {thread.name for thread in threading.enumerate()})
