"""The example ``stores`` as a process of its own, on each store."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.support import parts
from tests.support.answers import OK, REVOKED
from tests.support.databases import database_url, redis_url
from tests.support.example_process import Example, Response

#: The stores that outlast a process.
LASTING = ("sqlite", "postgresql", "mariadb", "redis")
STORES = ("memory", *LASTING)


def url_of(kind: str, folder: Path) -> str:
    """The URL of a store, written as a user writes it: without a driver."""
    if kind == "memory":
        return "memory://"
    url = redis_url() if kind == "redis" else database_url(kind, folder)
    return re.sub(r"^(\w+)\+\w+:", r"\1:", url)


class Stores(Example):
    """The example ``stores``."""

    module = "examples.stores"

    def __init__(self, folder: Path, store: str) -> None:
        self.store = store
        super().__init__(folder, "--store", store)

    def tokens(self, name: str = "ann") -> tuple[str, str]:
        body = self.ask("POST", f"/login/{name}").body
        return body["access_token"], body["refresh_token"]

    def use(self, token: str) -> Response:
        """The response to a request that needs just such a token."""
        refresh = parts(token)[0]["typ"] == "rt+jwt"
        return self.ask(*(("POST", "/refresh") if refresh else ("GET", "/profile")), token)

    def check(self, *, accepted: Iterable[str] = (), revoked: Iterable[str] = ()) -> None:
        """See that tokens are accepted, and that others are refused because they are revoked."""
        for token in accepted:
            assert self.use(token).outcome == OK
        for token in revoked:
            assert self.use(token).outcome == REVOKED

    def revoke_ann(self, token: str, reason: object) -> Response:
        return self.ask("POST", "/admin/revoke/ann", token, {"reason": reason})
