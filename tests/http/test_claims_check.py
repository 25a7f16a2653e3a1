"""The app's own check of the claims: which answer it gives, when it is asked, what is logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import abort

from flask_authx import (
    AuthX,
    AuthXException,
    BadConfigurationError,
    ClaimsRefusedError,
    InsufficientScopeError,
    RevokedTokenError,
    StoreUnavailableError,
    token_accepted,
)
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
    NO_CSRF,
    OK,
    REVOKED,
    Outcome,
    Spy,
    ask,
    cookie,
    outcome,
    who,
)
from tests.support.session_sites import heard, site

REFUSED = Outcome(403, "ClaimsRefusedError")


def takes_nothing() -> bool:
    return True


def takes_two(claims: dict[str, Any], other: object) -> bool:
    return True


class Check:
    """A check of claims that gives, or raises, one and the same answer."""

    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def __call__(self, claims: dict[str, Any]) -> Any:
        self.asked.append(claims)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class AsyncCheck(Check):
    async def __call__(self, claims: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return super().__call__(claims)


@pytest.mark.parametrize("kind", [Check, AsyncCheck])
def test_true_accepts_and_false_is_a_403(kind: type[Check]) -> None:
    app, authx = make_app()
    check = authx.set_callback_verify_claims(kind())
    token = access_token(app, authx, data={"tenant": "acme"})
    assert ask(app, headers=bearer(token)).json == {"sub": "ann"}
    assert check.asked == [parts(token)[1]]
    check.answer = False
    refused = ask(app, headers=bearer(token))
    assert outcome(refused) == REFUSED
    assert refused.json == {
        "msg": "The claims of the token are not accepted",
        "error_type": "ClaimsRefusedError",
    }
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize("kind", [Check, AsyncCheck])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RevokedTokenError("banned"), REVOKED),
        (InsufficientScopeError(["tenant:acme"]), Outcome(403, "InsufficientScopeError")),
        (StoreUnavailableError(), FAULT),
        (None, FAULT),
        (1, FAULT),
        ("yes", FAULT),
        (ValueError("x"), FAULT),
        (LookupError(), FAULT),
    ],
)
def test_what_it_raises_is_the_answer_and_all_else_is_a_failure(
    kind: type[Check], answer: Any, expected: Outcome
) -> None:
    app, authx = make_app()
    authx.set_callback_verify_claims(kind(answer))
    headers = bearer(access_token(app, authx))
    response: Any = ask(app, headers=headers)
    assert outcome(response) == outcome(ask(app, headers=headers)) == expected
    if expected == FAULT and answer.__class__ is not StoreUnavailableError:
        assert "can't be checked right now" in response.json["msg"]


def test_an_abort_is_no_answer() -> None:
    app, authx = make_app()

    @authx.set_callback_verify_claims
    def check(claims: dict[str, Any]) -> bool:
        abort(418)

    assert outcome(ask(app, headers=bearer(access_token(app, authx)))) == FAULT


def test_it_is_asked_once_for_all_guards_of_a_request() -> None:
    app, authx = make_app()
    check = authx.set_callback_verify_claims(Check())
    nested = authx.token_required(authx.optional_token(authx.access_token_required(who)))
    app.add_url_rule("/nested", "nested", nested)

    @app.before_request
    def first() -> None:
        authx.identify(optional=True)

    headers = bearer(access_token(app, authx))
    with heard(token_accepted) as accepted:
        assert ask(app, path="/nested", headers=headers).text == "ann"
    assert (len(check.asked), len(accepted.times)) == (1, 1)
    for answer in (False, RevokedTokenError(), None):
        check.asked.clear()
        check.answer = answer
        assert ask(app, path="/open", headers=headers).status_code in {404, 503}
        refused = ask(app, path="/nested", headers=headers)
        assert refused.status_code in {401, 403, 503}
        # One for each of the two requests.
        assert len(check.asked) == 2


def test_it_comes_after_all_that_makes_a_token_genuine() -> None:
    app, authx = make_app(TOKEN_LOCATION="headers,cookies")
    revoked = authx.token_blocklist(Spy(True))
    check = authx.set_callback_verify_claims(Check())
    token = access_token(app, authx)
    header, claims, _ = parts(token)
    attempts: list[tuple[dict[str, str], Outcome]] = [
        (bearer("x.y.z"), INVALID),
        (bearer(forge(header, claims, OTHER_SECRET)), INVALID),
        (bearer(refresh_token(app, authx)), Outcome(401, "AccessTokenRequiredError")),
        (cookie((ACCESS_COOKIE, token)), NO_CSRF),
        (bearer(token), REVOKED),
    ]
    for headers, expected in attempts:
        assert outcome(ask(app, "POST", headers=headers)) == expected
    assert check.asked == []
    revoked.answer = False
    assert outcome(ask(app, headers=bearer(token))) == OK
    assert len(check.asked) == 1


def test_it_comes_before_scopes_and_freshness() -> None:
    app, authx = make_app()
    authx.set_callback_verify_claims(Check(False))
    app.add_url_rule("/fresh", "fresh", authx.fresh_token_required(who))
    app.add_url_rule("/scopes", "scopes", authx.scopes_required("a")(who))
    for path in ("/fresh", "/scopes"):
        assert outcome(ask(app, path=path, headers=bearer(access_token(app, authx)))) == REFUSED


def test_also_for_refreshes_and_outside_of_requests() -> None:
    here = site()
    check = here.authx.set_callback_verify_claims(Check())
    pair = here.log_in()
    second = here.renew(pair.refresh_token)
    assert [claims["type"] for claims in check.asked] == ["refresh"]
    check.answer = False
    with here.app.app_context():
        for refused in (
            lambda: here.authx.verify_token(second.access_token),
            lambda: here.authx.refresh(second.refresh_token),
        ):
            with pytest.raises(ClaimsRefusedError):
                refused()
        # No check of the claims: that of the signature alone.
        assert here.authx.decode_token(second.access_token).sub == "ann"
    check.answer = True
    # A refused refresh has used nothing up.
    assert here.renew(second.refresh_token)


def test_unchecked_revocation_is_no_unchecked_claim() -> None:
    app, authx = make_app()
    authx.set_callback_verify_claims(Check(False))
    guard = authx.token_required(check_revocation=False)
    app.add_url_rule("/page", "page", guard(who))
    assert outcome(ask(app, path="/page", headers=bearer(access_token(app, authx)))) == REFUSED


def in_callback(claims: dict[str, Any]) -> bool:
    raise LookupError(f"no tenant {claims['tenant']} in {claims}")


async def in_async_callback(claims: dict[str, Any]) -> bool:
    raise LookupError(f"no tenant {claims['tenant']} in {claims}")


def returns_claims(claims: dict[str, Any]) -> Any:
    return claims


@pytest.mark.parametrize("callback", [in_callback, in_async_callback, returns_claims])
def test_its_words_are_never_logged(
    callback: Callable[[dict[str, Any]], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app, authx = make_app(TOKEN_LOCATION="headers,cookies")
    authx.set_callback_verify_claims(callback)
    token = access_token(app, authx, data={"tenant": "acme-of-mine"})
    assert outcome(ask(app, headers=bearer(token))) == FAULT
    assert "the callback that checks claims failed" in caplog.text
    claims = parts(token)[1]
    for secret in ("acme-of-mine", claims["csrf"], *token.split(".")):
        assert secret not in caplog.text
    if callback is not returns_claims:
        assert "LookupError" in caplog.text
        assert callback.__name__ in caplog.text


def test_the_reason_of_its_error_is_the_apps_and_not_the_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    app, authx = make_app(TOKEN_LOCATION="headers,cookies")
    seen: list[str] = []

    @authx.set_callback_verify_claims
    def check(claims: dict[str, Any]) -> bool:
        raise RevokedTokenError(f"not {claims['tenant']} in {claims}")

    @app.errorhandler(RevokedTokenError)
    def handle(error: RevokedTokenError) -> tuple[str, int]:
        seen.append(error.reason)
        return "", 410

    token = access_token(app, authx, data={"tenant": "acme-of-mine"})
    for path in ("/guarded", "/guarded"):
        assert outcome(ask(app, path=path, headers=bearer(token))) == Outcome(410)
    written = "".join(str(vars(record)) for record in caplog.records)
    assert "a callback raised RevokedTokenError" in written
    assert "acme-of-mine" not in written
    assert parts(token)[1]["csrf"] not in written
    assert seen[0].startswith("not acme-of-mine")


@pytest.mark.parametrize("callback", [takes_nothing, takes_two, 42])
def test_a_check_that_can_not_be_called_so_is_refused_at_once(callback: Any) -> None:
    _, authx = make_app()
    with pytest.raises(BadConfigurationError, match="claims check callback"):
        authx.set_callback_verify_claims(callback)


def test_it_belongs_to_its_object() -> None:
    app, authx = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    admin = AuthX(app, name="admin", clock=Clock())
    app.add_url_rule("/admin", "admin", admin.token_required(who))
    admin.set_callback_verify_claims(Check(False))
    assert outcome(ask(app, headers=bearer(access_token(app, authx)))) == OK
    assert outcome(ask(app, path="/admin", headers=bearer(access_token(app, admin)))) == REFUSED
    assert issubclass(ClaimsRefusedError, AuthXException)
