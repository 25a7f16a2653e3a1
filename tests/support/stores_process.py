"""The example ``stores`` as a process of its own, on each store."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT, parts
from tests.support.databases import database_url, redis_url
from tests.support.example_process import Answer, Example

#: The stores that outlast a process.
LASTING = ("sqlite", "postgresql", "mariadb", "redis")
STORES = ("memory", *LASTING)


def url_of(kind: str, folder: Path) -> str:
    """The URL of a store, written as a user writes it: without a driver."""
    if kind == "memory":
        return "memory://"
    url = redis_url() if kind == "redis" else database_url(kind, folder)
    return re.sub(r"^(\w+)\+\w+:", r"\1:", url)


def environment(**more: str) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FLASK_")}
    # A busy machine is no fault of the store.
    return clean | {"FLASK_JWT_STORE_TIMEOUT": "10"} | more


class Stores(Example):
    """The example as a process of its own, on a free port."""

    def __init__(self, folder: Path, store: str, **more: str) -> None:
        self.folder = folder
        self.store = store
        self.log_file = folder / "log"
        options = ["--port", "0", "--instance", str(folder), "--store", store]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "examples.stores", *options],
                cwd=ROOT,
                env=environment(**more),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.port = self._port()

    def tokens(self, name: str = "ann") -> tuple[str, str]:
        body = self.ask("POST", f"/login/{name}").body
        return body["access_token"], body["refresh_token"]

    def opens(self, token: str) -> bool:
        """Whether a token is accepted; if not, because it is revoked and for no other reason."""
        refresh = parts(token)[0]["typ"] == "rt+jwt"
        answer = self.ask(*(("POST", "/refresh") if refresh else ("GET", "/profile")), token)
        assert answer.status == 200 or answer.body["error_type"] == "RevokedTokenError"
        return answer.status == 200

    def revoke_ann(self, token: str, reason: object) -> Answer:
        return self.ask("POST", "/admin/revoke/ann", token, {"reason": reason})
