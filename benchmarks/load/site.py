"""What gunicorn serves: an app of the stores' benchmark, named by an environment variable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import redis
import sqlalchemy as sa
from flask import Flask

from benchmarks.keys import shared
from benchmarks.stores import apps
from benchmarks.stores.kinds import THEIRS, untyped
from flask_authx.settings.options import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BARE = "bare route"
_VARIABLE = "AUTHX_BENCH_SITE"
#: Of Python, before each answer of a busy site: a millisecond or more.
_STEPS = 60_000


@dataclass(frozen=True)
class Site:
    """A contender in processes of its own.

    :param who: ``OURS``, ``THEIRS`` or ``BARE``.
    :param store: the name of its store; empty without one.
    :param url: where that is.
    :param on_error: ``JWT_BLOCKLIST_ON_ERROR``.
    :param connections: ``JWT_STORE_CONNECTIONS``.
    :param busy: whether its requests use up the processor.
    """

    who: str
    secret: str = field(repr=False)
    store: str = ""
    url: str = field(default="", repr=False)
    on_error: str = Settings().blocklist_on_error
    connections: int = Settings().store_connections
    busy: bool = False

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.who}, {self.store}" if self.store else self.who

    def environment(self) -> dict[str, str]:
        """For a worker. All users of the machine could see its arguments."""
        return {**os.environ, _VARIABLE: json.dumps(asdict(self))}

    def build(self) -> apps.Built:
        """A guarded app; one of the same secret and store takes its tokens."""
        keys, in_redis = shared(self.secret), self.url.startswith("redis:")
        if self.who != THEIRS:
            settings = {
                # The default, which other benchmarks raise.
                "JWT_STORE_TIMEOUT": Settings().store_timeout,
                "JWT_STORE_CONNECTIONS": self.connections,
                "JWT_BLOCKLIST_ON_ERROR": self.on_error,
            }
            if self.url and not in_redis:
                return apps.ours_in_sql(keys, sa.make_url(self.url), settings)
            return apps.ours(keys, self.url or None, settings=settings)
        if in_redis:
            client = untyped(redis).Redis.from_url(self.url, decode_responses=True)
            return apps.theirs_in_redis(keys, client)
        return apps.theirs_in_sql(keys, sa.make_url(self.url)) if self.url else apps.theirs(keys)


def create() -> WSGIApplication:
    """What a worker serves."""
    site = Site(**json.loads(os.environ[_VARIABLE]))
    if site.who == BARE:
        app = Flask("bare")
        app.route("/")(apps.answer)
    else:
        app = site.build().app
    return _busy(app) if site.busy else app


def _busy(app: WSGIApplication) -> WSGIApplication:
    def busy(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        for _ in range(_STEPS):
            pass
        return app(environ, start)

    return busy
