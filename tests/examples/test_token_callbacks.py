"""The example ``token_callbacks``, started as a user starts it and asked over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from tests.examples.shells import in_a_shell, printed
from tests.support import parts
from tests.support.answers import INVALID, MISSING, OK, REVOKED
from tests.support.corpus import check_all
from tests.support.example_process import GUARDED, TokenCallbacks

# One worker starts the shared server once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("examples_token_callbacks")]

#: Tokens that open nothing: what each is refused with, and the challenge's beginning.
UNUSABLE = {
    None: (MISSING, 'Bearer realm="api"'),
    "logged_out": (REVOKED, 'Bearer realm="api", error="invalid_token", '),
    "foreign": (INVALID, 'Bearer realm="api", error="invalid_token", '),
    "garbage": (INVALID, 'Bearer realm="api", error="invalid_token", '),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenCallbacks]:
    example = TokenCallbacks(tmp_path_factory.mktemp("shared"))
    yield example
    example.stop()


# The table


def test_a_log_in_gives_an_access_token(shared: TokenCallbacks) -> None:
    response = shared.ask("POST", "/login", body={"username": "ann"})
    assert (response.status, list(response.body)) == (200, ["access_token"])
    assert response.headers["Cache-Control"] == "no-store"


def test_optional_without_a_token_finds_none(shared: TokenCallbacks) -> None:
    response = shared.ask("GET", "/token/optional")
    assert (response.status, response.body) == (200, "No token found")


def token_of(shared: TokenCallbacks, kind: str | None) -> str | None:
    """A token made anew, or the text itself."""
    return kind if kind in (None, "garbage") else getattr(shared, str(kind))()


@pytest.mark.parametrize("kind", ["login", "logged_out", "foreign", "garbage"])
def test_optional_finds_a_token_valid_or_not(shared: TokenCallbacks, kind: str) -> None:
    token = token_of(shared, kind)
    response = shared.ask("GET", "/token/optional", token)
    assert response.outcome == OK
    assert response.body == f"Your token is: {token} and is located in headers"


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_valid_token_opens_what_is_guarded(
    shared: TokenCallbacks, method: str, path: str
) -> None:
    token = shared.login()
    response = shared.ask(method, path, token)
    assert response.outcome == OK
    found = f"Your token is: {token} and is located in headers"
    assert response.body == {"/profile": "You are authenticated", "/logout": "OK"}.get(path, found)


def test_any_other_is_a_401_that_names_its_error_type(shared: TokenCallbacks) -> None:
    def is_refused(case: tuple[tuple[str, str], str | None]) -> None:
        route, kind = case
        expected, challenge = UNUSABLE[kind]
        response = shared.ask(*route, token_of(shared, kind))
        assert response.outcome == expected
        assert response.headers["Content-Type"] == "application/json"
        found = response.headers["WWW-Authenticate"]
        if expected == MISSING:
            assert found == challenge
        else:
            assert found.startswith(challenge)

    check_all(
        ((f"{' '.join(case[0])} with {case[1]}", case) for case in product(GUARDED, UNUSABLE)),
        is_refused,
    )


# Two tokens of one session


def test_a_pair_shares_its_session_and_a_refresh_keeps_it(shared: TokenCallbacks) -> None:
    access, refresh = shared.pair()
    renewed = shared.ask("POST", "/refresh", refresh).body["access_token"]
    sessions = {parts(token)[1]["sid"] for token in (access, refresh, renewed)}
    assert len(sessions) == 1
    assert shared.ask("GET", "/profile", renewed).outcome == OK


def test_a_logout_with_both_tokens_revokes_both(shared: TokenCallbacks) -> None:
    """USERS 38."""
    access, refresh = shared.pair()
    assert shared.ask("DELETE", "/logout", access, {"refresh_token": refresh}).body == "OK"
    for method, path, token in (("GET", "/profile", access), ("POST", "/refresh", refresh)):
        assert shared.ask(method, path, token).outcome == REVOKED


def test_a_logout_with_the_access_token_alone_leaves_the_refresh_token(
    shared: TokenCallbacks,
) -> None:
    """USERS 37."""
    access, refresh = shared.pair()
    assert shared.ask("DELETE", "/logout", access).body == "OK"
    assert shared.ask("POST", "/refresh", refresh).outcome == OK


@pytest.mark.parametrize(
    ("second", "status", "message"),
    [
        ("another session's", 400, "another session"),
        ("the access token", 401, "refresh token is required"),
        ("garbage", 401, "invalid"),
        (5, 400, "refresh_token"),
        (None, 400, "refresh_token"),
    ],
)
def test_a_logout_that_is_refused_revokes_nothing(
    shared: TokenCallbacks, second: object, status: int, message: str
) -> None:
    access, refresh = shared.pair()
    named = {"another session's": shared.pair()[1], "the access token": access}
    sent = named.get(second, second) if isinstance(second, str) else second
    response = shared.ask("DELETE", "/logout", access, {"refresh_token": sent})
    assert response.status == status, response
    assert message in response.body["msg"]
    assert shared.ask("GET", "/profile", access).outcome == OK
    assert shared.ask("POST", "/refresh", refresh).outcome == OK


def test_a_logout_with_an_invalid_body_is_refused(shared: TokenCallbacks) -> None:
    access = shared.login()
    for body in ("{", "[1]", '{"refresh_tokn": "x"}'):
        response = shared.ask("DELETE", "/logout", access, body)
        assert response.status == 400, response
        assert shared.ask("GET", "/profile", access).outcome == OK


def test_many_logouts_with_one_token_at_once_do_no_harm(shared: TokenCallbacks) -> None:
    """USERS 40."""
    token = shared.login()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(shared.ask, "DELETE", "/logout", token) for _ in range(8)]
    statuses = {response.result().status for response in asked}
    assert 200 in statuses
    assert statuses <= {200, 401}


def test_an_invalid_log_in_is_told_what_to_send(shared: TokenCallbacks) -> None:
    bodies = [
        *(None, "", "{", "null", "[1]", '"ann"', "{}"),
        *('{"username": ""}', '{"username": " "}', '{"username": 5}', '{"username": null}'),
        *('{"username": "a\\u0000"}', '{"username": "\\ud800"}', f'{{"username": "{"a" * 256}"}}'),
        '{"username": "ann", "pair": "yes"}',
    ]

    def is_told(body: str | None) -> None:
        response = shared.ask("POST", "/login", body=body)
        assert response.status == 400, response
        assert re.search("JSON object|username", response.body["msg"]), response

    check_all({repr(body): body for body in bodies}, is_told)


def test_the_printed_lines_do_what_is_said_of_them(shared: TokenCallbacks) -> None:
    said = in_a_shell(printed(shared))
    assert re.findall(r"HTTP/1.1 401|No token|Your token|You are|OK(?=\")|Revoked", said) == [
        *("No token", "Your token", "HTTP/1.1 401", "Your token", "You are"),
        *("OK", "HTTP/1.1 401", "Revoked"),
    ]
