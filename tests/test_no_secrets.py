"""Nothing that is secret gets into a log, an error, a signal or a repr (SECURITY A.19.6, A.16)."""

from __future__ import annotations

import ast
import functools
import itertools
import logging
import re
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_authx import (
    AuthX,
    AuthXException,
    BadConfigurationError,
    RequestToken,
    current_token,
)
from flask_authx.app.state import this_request
from tests.support import (
    NOW,
    OTHER_SECRET,
    ROOT,
    SECRET,
    access_token,
    bearer,
    ed25519_key,
    make_app,
    parts,
    private_pem,
    reforge,
)
from tests.support.answers import ACCESS_COOKIE, FAULT, ask, cookie, outcome
from tests.support.corpus import check_all
from tests.support.token_corpus import ALL, InvalidToken, config
from tests.support.watch import Watch, watching


@pytest.fixture
def watch() -> Iterator[Watch]:
    with watching() as heard:
        yield heard


def test_the_watch_itself_hears(watch: Watch) -> None:
    logging.getLogger("any").debug("a token: %s", "a.b.c" * 10)
    with pytest.raises(AssertionError, match="said"):
        watch.check("a.b.c" * 10)
    cause = ValueError(SECRET)
    outer = ValueError("no")
    outer.__context__ = cause
    watch.hear_error(outer)
    with pytest.raises(AssertionError, match="said"):
        watch.check(SECRET)


#: Of longer tokens the beginning will do: it is refused for its length as well.
_WRITABLE = 20_000


@functools.cache
def app_for(algorithm: str) -> tuple[Flask, AuthX]:
    """An app for invalid tokens, which leave nothing behind in it."""
    return make_app(**config(algorithm), TOKEN_LOCATION=["headers", "cookies", "json"])


def check_is_not_repeated(invalid: InvalidToken) -> None:
    token = invalid.make()[:_WRITABLE]
    app, authx = app_for(invalid.algorithm)
    raw = token.encode("utf-8", "surrogatepass").decode("latin-1")
    with watching() as watch:
        with app.app_context():
            try:
                authx.decode_token(token)
            except AuthXException as error:
                watch.hear_error(error)
        for response in (
            ask(app, environ_overrides={"HTTP_AUTHORIZATION": f"Bearer {raw}"}),
            ask(app, environ_overrides={"HTTP_COOKIE": f"{ACCESS_COOKIE}={raw}"}),
            ask(app, "POST", json={"access_token": token}),
        ):
            watch.hear(response.text, response.headers)
        watch.check(token, SECRET)


def test_no_invalid_token_is_repeated() -> None:
    """SECURITY A.16 296"""
    check_all([(invalid.id, invalid) for invalid in ALL], check_is_not_repeated)


def faults(kind: str, token: str, claims: dict[str, Any]) -> Any:
    """What a faulty callback does, with the token in its mouth."""
    if kind == "raises":
        raise RuntimeError(f"can't ask about {token}")
    if kind == "raises from":
        try:
            raise ValueError(token)
        except ValueError as error:
            raise RuntimeError("no answer") from error
    if kind == "raises a part":
        raise KeyError(token.rpartition(".")[2])
    if kind == "raises what is left of it":
        # As SQLAlchemy shortens a long parameter.
        raise LookupError(
            f"{token[:150]} ... ({len(token)} characters truncated) ... {token[-150:]}"
        )
    if kind == "raises with a note":
        noted = OSError()
        noted.add_note(token[20:])
        raise noted
    if kind == "raises a group":
        raise ExceptionGroup("two", [OSError(token[:-3]), ValueError(claims["csrf"])])
    if kind == "raises the claims":
        raise LookupError(f"{claims}")
    return {"returns": token, "returns None": None, "returns a list": [token]}[kind]


KINDS = (
    *("raises", "raises from", "raises a part", "raises the claims"),
    *("raises what is left of it", "raises with a note", "raises a group"),
    *("returns", "returns None", "returns a list"),
)


def check_fault(case: tuple[str, bool, bool]) -> None:
    kind, debug, is_async = case
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies"])
    app.debug = debug

    def is_revoked(token: str, claims: dict[str, Any]) -> Any:
        return faults(kind, token, claims)

    async def is_revoked_async(token: str, claims: dict[str, Any]) -> Any:
        return faults(kind, token, claims)

    @app.get("/awaits")
    @authx.token_required
    async def awaits() -> str:
        return ""

    authx.set_callback_token_blocklist(is_revoked_async if is_async else is_revoked)
    token = access_token(app, authx)
    csrf: str = parts(token)[1]["csrf"]
    with watching() as watch:
        responses = [
            ask(app, headers=bearer(token)),
            ask(app, headers=cookie((ACCESS_COOKIE, token))),
            ask(app, "POST", headers={**cookie((ACCESS_COOKIE, token)), "X-CSRF-TOKEN": csrf}),
            ask(app, path="/optional", headers=bearer(token)),
            ask(app, path="/awaits", headers=bearer(token)),
        ]
        with app.app_context(), pytest.raises(AuthXException) as caught:
            authx.verify_token(token)
        watch.hear_error(caught.value)
        for response in responses:
            assert outcome(response) == FAULT
            watch.hear(response.text, response.headers)
        assert any("revocation callback" in line for line in watch.said), watch.said
        watch.check(token, csrf, SECRET)
        # Of what is left of a token, its claims can be read.
        written = "\n".join(watch.said)
        assert not any(token[n : n + 16] in written for n in range(len(token) - 16))


def test_a_faulty_revocation_callback_does_not_spill_the_token() -> None:
    """SECURITY A.16 296, A.12 210"""
    cases = itertools.product(KINDS, (True, False), (True, False))
    check_all(
        {
            f"{kind}, {debug=}, {is_async=}": (kind, debug, is_async)
            for kind, debug, is_async in cases
        },
        check_fault,
    )


def requests(authx: AuthX, token: str) -> list[dict[str, str]]:
    """Requests of all outcomes that a token can have."""
    csrf: str = parts(token)[1]["csrf"]
    expired = reforge(token, iat=1_700_000_000, nbf=1_700_000_000, exp=1_700_000_900)
    return [
        bearer(token),
        bearer(expired),
        {"Authorization": f"Bearer {token} {token}"},
        {"Authorization": f"Basic {token}, Bearer {token}"},
        cookie((ACCESS_COOKIE, token)),
        cookie((ACCESS_COOKIE, token), (ACCESS_COOKIE, expired)),
        {**cookie((ACCESS_COOKIE, token)), "X-CSRF-TOKEN": csrf},
        {**cookie((ACCESS_COOKIE, token)), "X-CSRF-TOKEN": csrf + "x"},
    ]


@pytest.mark.parametrize("revoked", [True, False])
def test_no_outcome_of_a_valid_token_repeats_it(watch: Watch, revoked: bool) -> None:
    """SECURITY A.16 296 306, A.9 159"""
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies", "query"], MAX_TOKEN_LENGTH=8000)

    @authx.set_callback_token_blocklist
    def is_revoked(token: str) -> bool:
        return revoked

    @app.route("/strict", methods=["GET", "POST"])
    @authx.fresh_token_required
    @authx.scopes_required("admin")
    def strict() -> str:
        return "seen"

    token = access_token(app, authx)
    for headers in requests(authx, token):
        for path in ("/guarded", "/strict", "/optional"):
            for method in ("GET", "POST"):
                response = ask(app, method, path, headers=headers)
                watch.hear(response.text, response.headers)
    response = ask(app, path=f"/guarded?token={token}")
    watch.hear(response.text, response.headers)
    watch.check(token, parts(token)[1]["csrf"], SECRET)


BAD_SETTINGS: list[dict[str, Any]] = [
    {"SECRET_KEY": OTHER_SECRET[:20]},
    {"SECRET_KEY": OTHER_SECRET, "ALGORITHM": OTHER_SECRET},
    {"SECRET_KEY": OTHER_SECRET, "ALGORITHM": "RS256"},
    {"SECRET_KEY": OTHER_SECRET, "PREVIOUS_SECRET_KEY": OTHER_SECRET},
    {"SECRET_KEY": OTHER_SECRET, "TOKEN_LOCATION": OTHER_SECRET},
    {"SECRET_KEY": OTHER_SECRET, "ACCESS_TOKEN_EXPIRES": OTHER_SECRET},
    {"SECRET_KEY": OTHER_SECRET, "REALM": OTHER_SECRET + '"'},
    {"SECRET_KEY": OTHER_SECRET, "SECRET": OTHER_SECRET},
    {"SECRET_KEY": [OTHER_SECRET]},
    {"PRIVATE_KEY": OTHER_SECRET, "ALGORITHM": "ES256"},
    {"PUBLIC_KEY": OTHER_SECRET, "ALGORITHM": "RS256"},
]


def check_setting(settings: dict[str, Any]) -> None:
    with watching() as watch:
        with pytest.raises(BadConfigurationError) as caught:
            make_app(**settings)
        watch.hear_error(caught.value)
        watch.hear("".join(traceback.format_exception_only(caught.value)))
        watch.check(OTHER_SECRET, OTHER_SECRET[:20])


def test_no_invalid_setting_is_repeated() -> None:
    """SECURITY A.16 296 297"""
    check_all({str(settings): settings for settings in BAD_SETTINGS}, check_setting)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_no_invalid_key_is_repeated(watch: Watch, algorithm: str) -> None:
    """SECURITY A.16 297"""
    pem = private_pem(ed25519_key())
    for setting in ("PRIVATE_KEY", "PUBLIC_KEY", "PREVIOUS_PUBLIC_KEY"):
        for value in (pem, pem.replace("\n", "\\n"), pem[:-40], pem.encode()):
            keys: dict[str, Any] = {"PRIVATE_KEY": ed25519_key(), setting: value}
            with pytest.raises(BadConfigurationError) as caught:
                make_app(ALGORITHM=algorithm, **keys)
            watch.hear_error(caught.value)
    watch.check(*pem.splitlines()[1:-1])


def test_no_repr_shows_a_secret(watch: Watch) -> None:
    """SECURITY A.16 297, DESIGN rule 5"""
    app, authx = make_app(TOKEN_LOCATION=["headers", "cookies"])
    with app.app_context():
        pair = authx.create_token_pair("ann")
    csrf: str = parts(pair.access_token)[1]["csrf"]

    @app.get("/reprs")
    @authx.token_required
    def reprs() -> str:
        found = authx.get_token_from_request()
        # What an error reporter would show of the frames that a user callback is called from.
        mine = [value for name, value in vars(this_request()).items() if "authx" in name]
        watch.hear_repr(found, current_token, mine, pair, authx)
        assert mine
        return "seen"

    assert ask(app, path="/reprs", headers=bearer(pair.access_token)).text == "seen"
    state = app.extensions["authx"]["authx"]
    statement = state.codec.decode(pair.access_token, NOW)
    watch.hear_repr(state, state.codec, state.codec.keys, state.settings, statement)
    watch.hear_repr(RequestToken(pair.access_token, csrf, "access", "cookies"))
    watch.check(pair.access_token, pair.refresh_token, csrf, SECRET)


def test_what_is_secret_is_compared_in_constant_time() -> None:
    """SECURITY A.16 300: no ``==`` has a signature or a CSRF value on either side."""
    names = re.compile(r"(^|_)(csrf|signature|mac|sent)$")
    compared: list[str] = []
    right: list[str] = []
    for file in sorted((ROOT / "flask_authx").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "compare_digest":
                right.append(file.name)
            if not isinstance(node, ast.Compare):
                continue
            if not any(
                isinstance(one, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for one in node.ops
            ):
                continue
            sides = (node.left, *node.comparators)
            said = [one.id for one in sides if isinstance(one, ast.Name)]
            said += [one.attr for one in sides if isinstance(one, ast.Attribute)]
            if any(map(names.search, said)):
                compared.append(f"{file.name}:{node.lineno} {ast.unparse(node)}")
    assert compared == []
    assert "csrf.py" in right
