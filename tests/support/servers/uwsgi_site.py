"""An app whose master process has asked its store when it forks its workers, for uWSGI."""

from __future__ import annotations

import json
import os

from tests.support import bearer

from .revoking_site import create_app
from .session_site import SETTINGS

#: What uWSGI imports, in its master.
application = create_app(json.loads(os.environ[SETTINGS]))

with application.test_client() as _client:
    _tokens = _client.post("/login/master").get_json()
    assert _client.get("/guarded", headers=bearer(_tokens[0])).status_code == 200
