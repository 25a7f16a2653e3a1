"""The order of the line, shown by requests that are wrong in several ways at once."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, current_token, current_user, revoked_token_used
from tests.support import (
    OTHER_SECRET,
    Clock,
    access_token,
    bearer,
    forge,
    make_app,
    parts,
    refresh_token,
)
from tests.support.answers import (
    ACCESS_COOKIE,
    FAULT,
    INVALID,
    MALFORMED,
    MISSING,
    NO_CSRF,
    OK,
    REVOKED,
    Outcome,
    Spy,
    ask,
    cookie,
    outcome,
)

EXPIRED: Outcome = Outcome(401, "TokenExpiredError")
NOT_ACCESS: Outcome = Outcome(401, "AccessTokenRequiredError")
NOT_FRESH: Outcome = Outcome(401, "FreshTokenRequiredError")
NO_SCOPE: Outcome = Outcome(403, "InsufficientScopeError")


@pytest.fixture
def line() -> tuple[Flask, AuthX, Clock, Spy]:
    """An app with a view that asks for everything at once."""
    clock = Clock()
    app, authx = make_app(clock=clock, TOKEN_LOCATION=["headers", "cookies", "query"])
    spy = authx.token_blocklist(Spy(True))
    authx.set_subject_getter(Spy(None))

    @app.post("/all")
    @authx.token_required(fresh=True)
    @authx.scopes_required("a")
    def everything() -> dict[str, str]:
        return {"user": str(current_user)}

    @app.post("/scopes")
    @authx.scopes_required("a")
    @authx.token_required(fresh=True)
    def scopes() -> dict[str, str]:
        return {"sub": current_token.sub}

    return app, authx, clock, spy


def post(app: Flask, path: str = "/all", **kwargs: Any) -> Outcome:
    return outcome(ask(app, "POST", path, **kwargs))


def test_each_step_comes_after_the_one_before_it(line: tuple[Flask, AuthX, Clock, Spy]) -> None:
    """SECURITY A.16 301, A.10 183: find, signature, claims, type, CSRF, revocation, the rest."""
    app, authx, clock, spy = line
    refresh, stale = refresh_token(app, authx), access_token(app, authx)
    fresh = access_token(app, authx, fresh=True)
    valid = access_token(app, authx, fresh=True, scopes=["a"])
    header, claims, _ = parts(refresh)
    forged = forge(header, {**claims, "exp": 1}, OTHER_SECRET)

    def from_cookie(token: str) -> Outcome:
        return post(app, headers=cookie((ACCESS_COOKIE, token)))

    assert post(app) == MISSING
    assert post(app, headers={"Authorization": "Bearer"}, query_string={"token": "x"}) == MALFORMED
    # Forged, expired, of the wrong type, without CSRF value: the signature is what counts.
    assert from_cookie(forged) == INVALID
    assert from_cookie(refresh) == NOT_ACCESS
    assert from_cookie(stale) == NO_CSRF
    assert spy.asked == []
    assert post(app, headers=bearer(stale)) == REVOKED
    assert len(spy.asked) == 1
    spy.answer = None
    assert post(app, headers=bearer(stale)) == FAULT
    spy.answer = False
    assert post(app, headers=bearer(stale)) == NOT_FRESH
    assert post(app, headers=bearer(fresh)) == NO_SCOPE
    assert post(app, headers=bearer(valid)) == INVALID  # there is no such user
    clock.advance(100_000)
    assert from_cookie(refresh) == NOT_ACCESS  # a refresh token lives longer
    assert from_cookie(stale) == EXPIRED


def test_guards_are_asked_from_the_outermost_in(line: tuple[Flask, AuthX, Clock, Spy]) -> None:
    app, authx, _, spy = line
    spy.answer = False
    headers = bearer(access_token(app, authx))
    assert post(app, "/all", headers=headers) == NOT_FRESH
    assert post(app, "/scopes", headers=headers) == NO_SCOPE


def test_freshness_and_scopes_are_judged_at_every_request(
    line: tuple[Flask, AuthX, Clock, Spy],
) -> None:
    """SECURITY A.15 279: what is kept of a token is what it says, not what it may do."""
    app, authx, clock, spy = line
    spy.answer = False
    token = access_token(app, authx, fresh=True, scopes=["a"])
    for _ in range(2):
        assert post(app, "/scopes", headers=bearer(token)) == OK
    spy.answer = True
    assert post(app, "/scopes", headers=bearer(token)) == REVOKED
    spy.answer = False
    assert post(app, "/scopes", headers=bearer(token)) == OK
    clock.advance(899 + 10)
    assert post(app, "/scopes", headers=bearer(token)) == OK
    clock.advance(1)
    assert post(app, "/scopes", headers=bearer(token)) == EXPIRED


def test_a_revoked_token_is_not_remembered_from_request_to_request(
    line: tuple[Flask, AuthX, Clock, Spy],
) -> None:
    app, authx, _, spy = line
    token = access_token(app, authx, fresh=True, scopes=["a"])
    for answer, expected in ((True, REVOKED), (False, OK), (None, FAULT), (True, REVOKED)):
        spy.answer = answer
        assert post(app, "/scopes", headers=bearer(token)) == expected
    assert len(spy.asked) == 4


def test_a_revoked_token_in_use_is_announced_with_its_ids(
    line: tuple[Flask, AuthX, Clock, Spy],
) -> None:
    app, authx, _, _ = line
    token = access_token(app, authx)
    sent: list[dict[str, Any]] = []

    def revoked(sender: Flask, **ids: Any) -> None:
        sent.append(ids)

    with revoked_token_used.connected_to(revoked, app):
        assert post(app, headers=bearer(token)) == REVOKED
        assert post(app, headers=bearer("x.y.z")) == INVALID
    _, claims, _ = parts(token)
    assert sent == [
        {
            "name": "authx",
            "jti": claims["jti"],
            "sid": claims["sid"],
            "sub": "ann",
            "type": "access",
        }
    ]
    assert token not in repr(sent)
