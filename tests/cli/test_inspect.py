"""``flask authx inspect``: what a token says, whether it would be accepted, and why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flask_authx import AuthX
from flask_authx.cli import authx as group
from tests.support import (
    NOW,
    OTHER_SECRET,
    SECRET,
    Clock,
    access_token,
    b64,
    bearer,
    forge,
    make_app,
    reforge,
    refresh_token,
)
from tests.support.answers import ask
from tests.support.browsers import FrailSessions
from tests.support.cli import DONE, LATER, NOT_SO, USAGE, flask, run
from tests.support.corpus import check_all
from tests.support.invalid_tokens import invalid_tokens
from tests.support.spy_store import SpyStore, spied


def found(app: Any, raw: str, *arguments: str) -> dict[str, Any]:
    """What is printed as JSON; the exit code agrees with it."""
    code, out, err = run(app, "inspect", "--json", *arguments, stdin=raw)
    assert err == ""
    result: dict[str, Any] = json.loads(out)
    assert code == (DONE if result["accepted"] else NOT_SO)
    assert result["accepted"] is (result["error"] is None) is (result["reason"] is None)
    return result


def verdict(app: Any, raw: str) -> tuple[bool, str | None, bool | None]:
    """Whether it would be accepted, the error if not, and whether it is revoked."""
    result = found(app, raw)
    return result["accepted"], result["error"], result["revoked"]


def test_a_valid_token_is_shown_without_its_signature() -> None:
    app, authx, _ = spied()
    raw = access_token(app, authx, data={"plan": "gold"}, scopes=["users:read"])
    result = found(app, f"  {raw}\r\n")
    assert result["header"] == {**result["header"], "alg": "HS256", "typ": "at+jwt"}
    assert result["claims"] == {
        **result["claims"],
        "sub": "ann",
        "plan": "gold",
        "scope": "users:read",
        "iat": NOW,
        "csrf": "(hidden)",
    }
    assert (result["verified"], result["accepted"], result["revoked"]) == (True, True, False)
    text = run(app, "inspect", stdin=raw)
    assert (text.code, text.stderr) == (DONE, "")
    for shown in ('"ann"', '"gold"', "(2027-01-15 08:00Z)", "Accepted  yes", "Revoked   no"):
        assert shown in text.stdout
    with app.app_context():
        csrf = authx.decode_token(raw).csrf
    for output in (text.output, json.dumps(result)):
        assert raw.split(".")[2] not in output
        assert csrf is not None
        assert csrf not in output


def test_a_refresh_token_is_inspected_as_one() -> None:
    app, authx, _ = spied()
    assert verdict(app, refresh_token(app, authx)) == (True, None, False)


def test_what_is_refused_is_told_with_the_reason() -> None:
    app, authx, _ = spied()
    raw = access_token(app, authx)
    times: dict[str, Any] = {"iat": 1, "nbf": 1, "auth_time": 1, "exp": 2}
    expired = reforge(raw, **times)
    assert verdict(app, expired) == (False, "TokenExpiredError", False)
    early = reforge(raw, nbf=int(NOW) + 3600, exp=int(NOW) + 7200)
    result = found(app, early)
    assert (result["verified"], result["reason"]) == (True, "the token is not valid yet")
    for error in ("Issuer", "Audience"):
        config: dict[str, Any] = {f"DECODE_{error.upper()}": "other"}
        other, _ = make_app(**config)
        result = found(other, raw)
        assert (result["error"], result["verified"]) == (f"TokenInvalid{error}Error", True)
        assert result["claims"]["sub"] == "ann"
        assert result["revoked"] is None
    assert "no: it has expired" in run(app, "inspect", stdin=expired).stdout


def test_a_forged_token_is_shown_as_what_nobody_has_verified() -> None:
    app, authx, store = spied()
    raw = access_token(app, authx)
    header, _, signature = raw.split(".")
    forged = ".".join([header, b64(b'{"sub": "root", "x": "\\u001b[2J"}'), signature])
    store.calls.clear()
    assert verdict(app, forged) == (False, "TokenInvalidSignatureError", None)
    assert store.calls == []
    text = run(app, "inspect", stdin=forged).stdout
    assert "Claims (not verified: anybody may have written them)" in text
    assert '"root"' in text
    assert "\x1b" not in text
    assert "Revoked   not checked: the token is invalid" in text
    assert signature not in text


NO_TOKENS = {
    "empty": "",
    "a word": "token",
    "two parts": "a.b",
    "four parts": "a.b.c.d",
    "with its scheme": "Bearer x.y.z",
    "no JSON": f"{b64(b'{')}.{b64(b'[]')}.x",
    "deep": f"{b64(b'[' * 100_000)}.{b64(b'{}')}.x",
    "long": "x" * 3_000_000,
}


def test_anything_else_is_refused_without_a_traceback() -> None:
    app, authx, store = spied()
    access, refresh = access_token(app, authx), refresh_token(app, authx)
    tokens = {**NO_TOKENS, **invalid_tokens(access, refresh)}
    # Which is no invalid one here.
    del tokens["other type"]
    store.calls.clear()

    def check(raw: str) -> None:
        code, out, err = run(app, "inspect", stdin=raw)
        assert (code, err) == (NOT_SO, "")
        assert "Accepted  no: " in out
        signature = raw.rpartition(".")[2]
        assert len(signature) < 16 or signature not in out

    check_all(tokens, check)
    # Of those which the app has signed, it is told whether they are revoked.
    assert {*store.calls} <= {"find"}


NOT_ALONE = {
    "with its scheme": "Bearer {}",
    "with its header": "Authorization: Bearer {}",
    "after a byte order mark": "\ufeff{}",
    "twice": "{0}\n{0}",
    "nothing": "",
    "in quotation marks": "\u201c{}\u201d",
}


def test_a_token_among_other_text_is_told_to_be_alone() -> None:
    app, authx, store = spied()
    raw = access_token(app, authx)
    store.calls.clear()

    def check(form: str) -> None:
        result = found(app, form.format(raw))
        assert result["error"] == "JWTDecodeError"
        assert "paste one token alone" in result["reason"]

    check_all(NOT_ALONE, check)
    assert store.calls == []
    assert found(app, f"\r\n {raw} \n")["accepted"]


def test_why_a_token_is_revoked_is_said_as_for_operators() -> None:
    """The text of the response is for clients: it doesn't say who has revoked the token."""
    app, authx, _ = spied()
    stored, called = access_token(app, authx), access_token(app, authx, "dan")
    with app.app_context():
        authx.revoke_token(stored)
    asked: list[str] = []

    @authx.set_callback_token_blocklist
    def of_dan(raw: str) -> bool:
        asked.append(raw)
        return raw == called

    reasons = {
        stored: "the store has a revocation of the token, its session or its user",
        called: "the revocation callback returned True",
    }
    for raw, reason in reasons.items():
        result = found(app, raw)
        assert (result["error"], result["reason"]) == ("RevokedTokenError", reason)
        assert f"Accepted  no: {reason[:30]}" in run(app, "inspect", stdin=raw).stdout
    # Once by each command.
    assert asked == [called, called]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e999"])
def test_what_is_no_json_is_not_printed_as_json(number: str) -> None:
    app, _ = make_app()
    claims = b64(f'{{"sub": "ann", "x": {number}}}'.encode())
    header = b64(b'{"alg": "HS256"}')

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    out = run(app, "inspect", "--json", stdin=f"{header}.{claims}.x").stdout
    result = json.loads(out, parse_constant=refuse)
    assert (result["header"], result["claims"]) == ({"alg": "HS256"}, None)
    finite = b64(b'{"x": [1.5, 1e30, -0.0]}')
    assert found(app, f"{header}.{finite}.x")["claims"] == {"x": [1.5, 1e30, -0.0]}


def test_it_agrees_with_a_guard() -> None:
    """Revoked by token, session, user and scope; by the app's callback; and as no type fits."""
    app, authx, _ = spied()
    with app.app_context():
        pairs = [authx.create_token_pair(uid) for uid in ("ann", "bob", "eve", "dan")]
        authx.revoke_token(pairs[0].access_token)
        authx.revoke_session(authx.decode_token(pairs[1].access_token).sid)
        authx.revoke_subject("eve")

    @authx.set_callback_token_blocklist
    def of_dan(raw: str) -> bool:
        return raw == pairs[3].access_token

    for pair in pairs:
        for raw, path in ((pair.access_token, "/guarded"), (pair.refresh_token, "/refresh")):
            accepted, error, revoked = verdict(app, raw)
            response: Any = ask(app, path=path, headers=bearer(raw))
            assert accepted is (response.status_code == 200)
            assert error in (None, "RevokedTokenError")
            assert revoked is not accepted


def test_a_token_that_expired_and_was_revoked_is_both() -> None:
    app, authx, _ = spied()
    raw = access_token(app, authx)
    with app.app_context():
        authx.revoke_token(raw)
    expired = reforge(raw, exp=int(NOW) - 60, iat=int(NOW) - 90, nbf=1)
    assert verdict(app, expired) == (False, "TokenExpiredError", True)


def test_a_replaced_refresh_token_is_told_and_its_session_goes_on() -> None:
    """A guard would revoke the session: it takes the second use for a theft."""
    store, clock = SpyStore(), Clock()
    sessions = FrailSessions(clock)
    app, _ = make_app(clock=clock)
    authx = AuthX(name="second", blocklist=store, sessions=sessions, clock=clock)
    app.config["SECOND_JWT_SECRET_KEY"] = OTHER_SECRET
    authx.init_app(app)
    with app.app_context():
        pair = authx.login("ann")
    newest = pair.refresh_token
    for _ in range(3):
        clock.advance(120)
        with app.app_context():
            newest = authx.refresh(newest).refresh_token
    store.calls.clear()
    result = found(app, pair.refresh_token, "--name", "second")
    assert (result["error"], result["revoked"]) == ("ReusedTokenError", False)
    assert found(app, newest, "--name", "second")["accepted"]
    assert "add" not in store.calls
    with app.app_context():
        assert len(authx.sessions("ann")) == 1


def test_nothing_is_written_where_the_store_is_new() -> None:
    app, authx, store = spied()
    raw = access_token(app, authx)
    store.marks.clear()
    store.calls.clear()
    result = found(app, raw)
    assert (result["error"], result["revoked"]) == ("RevokedTokenError", True)
    assert result["reason"] == "the store is new or has lost its revocations"
    assert store.calls == ["find"]
    assert ask(app, headers=bearer(raw)).status_code == 401


def test_what_can_not_be_known_here_is_said() -> None:
    for store, told in (
        (None, "not checked: there is neither a store nor a revocation callback"),
        ("memory://", "not checked: the store is in the memory of each process"),
    ):
        app, authx = make_app(BLOCKLIST=store)
        raw = access_token(app, authx)
        assert verdict(app, raw) == (True, None, None)
        assert told in run(app, "inspect", stdin=raw).stdout


def test_a_store_that_fails_ends_with_3() -> None:
    app, authx, store = spied()
    raw = access_token(app, authx)
    store.error = ConnectionError("down")
    for arguments in ([], ["--json"]):
        code, out, err = run(app, "inspect", *arguments, stdin=raw)
        assert (code, out) == (LATER, "")
        assert err.startswith("Error: ")


def test_a_callback_that_fails_ends_with_3() -> None:
    app, authx = make_app()

    def fail(raw: str) -> bool:
        raise OSError("no answer")

    authx.set_callback_token_blocklist(fail)
    assert run(app, "inspect", stdin=access_token(app, authx)).code == LATER


def test_of_several_objects_one_is_named() -> None:
    app, _ = make_app()
    app.config["ADMIN_JWT_SECRET_KEY"] = OTHER_SECRET
    admin = AuthX(app, name="admin", clock=Clock())
    raw = access_token(app, admin)
    assert run(app, "inspect", stdin=raw).code == USAGE
    assert found(app, raw, "--name", "admin")["accepted"]
    assert found(app, raw, "--name", "authx")["error"] == "TokenInvalidSignatureError"


def test_the_token_is_no_argument() -> None:
    """All users of a machine can see those."""
    app, authx, _ = spied()
    assert run(app, "inspect", access_token(app, authx)).code == USAGE
    names = {name for one in group.commands["inspect"].params for name in one.opts}
    assert names == {"--json", "--name"}


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_output_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    app, authx, _ = spied()
    scopes = [f"area{number}:read" for number in range(40)]
    raw = access_token(app, authx, scopes=scopes, data={"a_claim_with_a_long_name": "x" * 400})
    lines = run(app, "inspect", stdin=raw).stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "x" * 400 in "".join(line.strip() for line in lines)


def test_a_claim_of_any_kind_is_shown() -> None:
    app, authx = make_app(ACCEPT_UNTYPED=True)
    valid = access_token(app, authx)
    odd: dict[str, Any] = {"exp": 10**30, "iat": "soon", "nbf": True, "\x1b[2J": None, "d": [{}]}
    for claims in (odd, {**odd, "csrf": 5}):
        raw = forge({"alg": "HS256", "typ": "at+jwt"}, claims, SECRET)
        text = run(app, "inspect", stdin=raw)
        assert text.code == NOT_SO
        assert "\x1b" not in text.stdout
        assert str(10**30) in text.stdout
    assert found(app, valid)["accepted"]


@pytest.mark.slow
def test_as_a_user_types_it(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        "from flask import Flask\n"
        "from flask_authx import AuthX\n"
        "app = Flask(__name__)\n"
        f"app.config['JWT_SECRET_KEY'] = {SECRET!r}\n"
        "authx = AuthX(app)\n"
    )
    app, authx = make_app()
    done = flask(tmp_path, "--app", "service", "authx", "inspect", stdin="x.y.z\n")
    assert (done.code, done.stderr) == (NOT_SO, "")
    token = access_token(app, authx)
    done = flask(tmp_path, "--app", "service", "authx", "inspect", stdin=token)
    assert '"ann"' in done.stdout
    assert "not checked: there is neither" in done.stdout
