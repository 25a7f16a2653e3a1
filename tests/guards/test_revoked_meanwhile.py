"""A token that the request itself revokes: what was found of it before does not count any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_authx import AuthX, RevokedTokenError, StoreUnavailableError, current_token
from tests.support import Clock, access_token, bearer
from tests.support.answers import REVOKED, AsyncSpy, Spy, ask, outcome, who
from tests.support.session_sites import site
from tests.support.spy_store import SpyStore, store_app


def by_logout(authx: AuthX) -> None:
    authx.logout()


def by_token(authx: AuthX) -> None:
    authx.revoke_token()


def by_session(authx: AuthX) -> None:
    authx.revoke_session(current_token.sid)


def by_subject(authx: AuthX) -> None:
    authx.revoke_subject("ann")


def by_all(authx: AuthX) -> None:
    authx.revoke_all()


Revoke = Callable[[AuthX], None]
REVOKING: list[Revoke] = [by_logout, by_token, by_session, by_subject, by_all]


def answers(authx: AuthX) -> list[str | None]:
    """What ``identify`` says in either way."""
    found = authx.identify(optional=True)
    said: list[str | None] = [None if found is None else found.sub]
    try:
        said.append(authx.identify().sub)
    except RevokedTokenError:
        said.append("revoked")
    return said


@pytest.mark.parametrize("revoke", REVOKING)
@pytest.mark.parametrize("callback", [None, Spy(False), AsyncSpy(False)])
def test_identify_accepts_a_token_until_the_view_revokes_it(
    revoke: Revoke, callback: Spy | None
) -> None:
    store = SpyStore()
    app, authx = store_app(store)
    if callback is not None:
        authx.token_blocklist(callback)

    @app.post("/out")
    @authx.token_required
    def out() -> list[Any]:
        before = answers(authx)
        revoke(authx)
        # The view may still say whom it has logged out.
        return [*before, *answers(authx), *answers(authx), current_token.sub]

    headers = bearer(access_token(app, authx))
    store.calls.clear()
    said = ask(app, "POST", "/out", headers=headers).json
    assert said == ["ann", "ann", None, "revoked", None, "revoked", "ann"]
    # One look-up before it and one after it; a log-out makes one of its own.
    assert store.calls.count("find") == (3 if revoke is by_logout else 2)
    assert outcome(ask(app, headers=headers)) == REVOKED


@pytest.mark.parametrize("revoke", REVOKING)
@pytest.mark.parametrize("settings", [{}, {"PROTECT_ALL": True}])
def test_a_guard_does_not_accept_what_a_hook_has_revoked(
    revoke: Revoke, settings: dict[str, Any]
) -> None:
    app, authx = store_app(SpyStore(), **settings)
    app.add_url_rule("/guarded/twice", "twice", authx.token_required(authx.token_required(who)))

    # Runs after the hook of a protected app, which has accepted the token.
    @app.before_request
    def log_out() -> None:
        assert authx.identify(optional=True)
        revoke(authx)

    for path in ("/guarded", "/guarded/twice"):
        assert outcome(ask(app, path=path, headers=bearer(access_token(app, authx)))) == REVOKED


def test_other_sessions_are_accepted_as_before() -> None:
    app, authx = store_app(SpyStore())
    other = access_token(app, authx)

    @app.post("/others")
    @authx.token_required
    def others() -> list[Any]:
        authx.revoke_token(other)
        authx.revoke_subject("ann", keep=current_token.sid)
        return [*answers(authx), who()]

    headers = bearer(access_token(app, authx))
    assert ask(app, "POST", "/others", headers=headers).json == ["ann", "ann", "ann"]


def test_a_session_that_another_request_has_revoked_meanwhile() -> None:
    app, authx = store_app(SpyStore())

    @app.post("/out")
    @authx.token_required
    def out() -> list[Any]:
        with app.app_context():
            # As another request does, whose context is not this one's.
            assert ask(app, "POST", "/elsewhere", headers=headers).status_code == 200
        # Nothing is left to write.
        authx.logout()
        return answers(authx)

    @app.post("/elsewhere")
    def elsewhere() -> str:
        authx.logout()
        return ""

    headers = bearer(access_token(app, authx))
    assert ask(app, "POST", "/out", headers=headers).json == [None, "revoked"]


def test_a_refresh_token_that_is_used_again_ends_the_access_token_as_well() -> None:
    made = site(REFRESH_GRACE=0)
    first = made.log_in()
    second = made.renew(first.refresh_token)

    @made.app.post("/theft")
    @made.authx.token_required
    def theft() -> list[Any]:
        before = answers(made.authx)
        with pytest.raises(RevokedTokenError):
            made.authx.refresh(first.refresh_token)
        return [*before, *answers(made.authx)]

    answer = made.ask(second.access_token, path="/theft")
    assert answer.json == ["ann", "ann", None, "revoked"]


def test_a_log_in_that_ends_the_oldest_session() -> None:
    made = site(MAX_SESSIONS=1)
    pair = made.log_in()

    @made.app.post("/again")
    @made.authx.token_required
    def again() -> list[Any]:
        before = answers(made.authx)
        made.authx.login("ann")
        return [*before, *answers(made.authx)]

    assert made.ask(pair.access_token, path="/again").json == ["ann", "ann", None, "revoked"]


@pytest.mark.parametrize("late", [False, True])
def test_a_revocation_that_fails_is_looked_up_as_well(late: bool) -> None:
    store = SpyStore(late=late)
    app, authx = store_app(store)

    @app.post("/out")
    @authx.token_required
    def out() -> list[Any]:
        store.error, store.failing = ConnectionError("down"), frozenset({"add"})
        with pytest.raises(StoreUnavailableError):
            authx.revoke_subject("ann")
        return answers(authx)

    expected: list[str | None] = [None, "revoked"] if late else ["ann", "ann"]
    assert ask(app, "POST", "/out", headers=bearer(access_token(app, authx))).json == expected


def test_each_object_forgets_its_own() -> None:
    store, other_store = SpyStore(), SpyStore()
    app, authx = store_app(store)
    app.config["ADMIN_JWT_SECRET_KEY"] = "another-secret-of-more-than-32-bytes-Zq81"
    admin = AuthX(app, name="admin", clock=Clock(), blocklist=other_store)

    @app.post("/out")
    @authx.token_required
    def out() -> list[Any]:
        admin.revoke_subject("root")
        return answers(authx)

    headers = bearer(access_token(app, authx))
    store.calls.clear()
    assert ask(app, "POST", "/out", headers=headers).json == ["ann", "ann"]
    assert store.calls == ["find"]


def test_a_request_that_revokes_nothing_asks_the_store_once() -> None:
    store = SpyStore()
    app, authx = store_app(store)
    app.add_url_rule("/who", "who", authx.token_required(lambda: answers(authx)))
    headers = bearer(access_token(app, authx))
    store.calls.clear()
    assert ask(app, path="/who", headers=headers).json == ["ann", "ann"]
    assert store.calls == ["find"]


def test_a_task_that_revokes_has_no_request_to_look_after() -> None:
    app, authx = store_app(SpyStore())
    token = access_token(app, authx)
    with app.app_context():
        authx.revoke_token(token)
    assert outcome(ask(app, headers=bearer(token))) == REVOKED
