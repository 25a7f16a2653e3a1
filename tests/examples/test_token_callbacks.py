"""The example ``token_callbacks``, started as a user starts it and asked over HTTP."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import parts
from tests.support.example_process import GUARDED, Example

# One worker starts the shared server once.
pytestmark = pytest.mark.xdist_group("examples")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    example = Example(tmp_path_factory.mktemp("shared"))
    yield example
    example.stop()


# The table


def test_login_answers_with_an_access_token(shared: Example) -> None:
    answer = shared.ask("POST", "/login", body={"username": "ann"})
    assert (answer.status, list(answer.body)) == (200, ["access_token"])
    assert answer.headers["Cache-Control"] == "no-store"


def test_optional_without_a_token_finds_none(shared: Example) -> None:
    answer = shared.ask("GET", "/token/optional")
    assert (answer.status, answer.body) == (200, "No token found")


@pytest.mark.parametrize("kind", ["login", "logged_out", "foreign", "garbage"])
def test_optional_finds_a_token_whatever_it_is_worth(shared: Example, kind: str) -> None:
    token = "garbage" if kind == "garbage" else getattr(shared, kind)()
    answer = shared.ask("GET", "/token/optional", token)
    assert answer.status == 200
    assert answer.body == f"Your token is: {token} and is located in headers"


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_good_token_opens_what_is_guarded(shared: Example, method: str, path: str) -> None:
    token = shared.login()
    answer = shared.ask(method, path, token)
    assert answer.status == 200
    assert answer.body in (
        f"Your token is: {token} and is located in headers",
        "You are authenticated",
        "OK",
    )
    assert answer.body.startswith({"/profile": "You are", "/logout": "OK"}.get(path, "Your token"))


@pytest.mark.parametrize("guarded", GUARDED)
@pytest.mark.parametrize(
    ("kind", "error_type", "challenge"),
    [
        (None, "MissingTokenError", 'Bearer realm="api"'),
        ("logged_out", "RevokedTokenError", 'Bearer realm="api", error="invalid_token", '),
        ("foreign", "JWTDecodeError", 'Bearer realm="api", error="invalid_token", '),
        ("garbage", "JWTDecodeError", 'Bearer realm="api", error="invalid_token", '),
    ],
)
def test_any_other_is_a_401_that_names_its_error_type(
    shared: Example, guarded: tuple[str, str], kind: str | None, error_type: str, challenge: str
) -> None:
    token = getattr(shared, kind)() if kind in ("logged_out", "foreign") else kind
    answer = shared.ask(*guarded, token)
    assert (answer.status, answer.body["error_type"]) == (401, error_type)
    assert answer.headers["Content-Type"] == "application/json"
    if error_type == "MissingTokenError":
        assert answer.headers["WWW-Authenticate"] == challenge
    else:
        assert answer.headers["WWW-Authenticate"].startswith(challenge)


# Two tokens of one login


def test_a_pair_shares_its_login_and_a_refresh_keeps_it(shared: Example) -> None:
    access, refresh = shared.pair()
    renewed = shared.ask("POST", "/refresh", refresh).body["access_token"]
    logins = {parts(token)[1]["sid"] for token in (access, refresh, renewed)}
    assert len(logins) == 1
    assert shared.ask("GET", "/profile", renewed).status == 200


def test_a_logout_with_both_tokens_ends_both(shared: Example) -> None:
    """USERS 38."""
    access, refresh = shared.pair()
    assert shared.ask("DELETE", "/logout", access, {"refresh_token": refresh}).body == "OK"
    for method, path, token in (("GET", "/profile", access), ("POST", "/refresh", refresh)):
        answer = shared.ask(method, path, token)
        assert (answer.status, answer.body["error_type"]) == (401, "RevokedTokenError")


def test_a_logout_with_the_access_token_alone_leaves_the_refresh_token(shared: Example) -> None:
    """USERS 37."""
    access, refresh = shared.pair()
    assert shared.ask("DELETE", "/logout", access).body == "OK"
    assert shared.ask("POST", "/refresh", refresh).status == 200


@pytest.mark.parametrize(
    ("second", "status", "message"),
    [
        ("another login's", 400, "another login"),
        ("the access token", 401, "refresh token is required"),
        ("garbage", 401, "invalid"),
        (5, 400, "refresh_token"),
        (None, 400, "refresh_token"),
    ],
)
def test_a_logout_that_is_refused_ends_nothing(
    shared: Example, second: object, status: int, message: str
) -> None:
    access, refresh = shared.pair()
    named = {"another login's": shared.pair()[1], "the access token": access}
    sent = named.get(second, second) if isinstance(second, str) else second
    answer = shared.ask("DELETE", "/logout", access, {"refresh_token": sent})
    assert answer.status == status
    assert message in answer.body["msg"]
    assert shared.ask("GET", "/profile", access).status == 200
    assert shared.ask("POST", "/refresh", refresh).status == 200


@pytest.mark.parametrize("body", ["{", "[1]", '{"refresh_tokn": "x"}'])
def test_a_logout_never_overlooks_a_body_that_it_does_not_understand(
    shared: Example, body: str
) -> None:
    access = shared.login()
    assert shared.ask("DELETE", "/logout", access, body).status == 400
    assert shared.ask("GET", "/profile", access).status == 200


def test_many_logouts_with_one_token_at_once_do_no_harm(shared: Example) -> None:
    """USERS 40."""
    token = shared.login()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(shared.ask, "DELETE", "/logout", token) for _ in range(8)]
    statuses = {answer.result().status for answer in asked}
    assert 200 in statuses
    assert statuses <= {200, 401}


@pytest.mark.parametrize(
    "body",
    [
        *(None, "", "{", "null", "[1]", '"ann"', "{}"),
        *('{"username": ""}', '{"username": " "}', '{"username": 5}', '{"username": null}'),
        *('{"username": "a\\u0000"}', '{"username": "\\ud800"}', f'{{"username": "{"a" * 256}"}}'),
        '{"username": "ann", "pair": "yes"}',
    ],
)
def test_a_login_that_makes_no_sense_is_told_what_to_send(
    shared: Example, body: str | None
) -> None:
    answer = shared.ask("POST", "/login", body=body)
    assert answer.status == 400
    assert re.search("JSON object|username", answer.body["msg"])


def test_the_printed_session_does_what_it_says(shared: Example) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    lines = [line for line in shared.log.splitlines() if line.startswith("    ")]
    done = subprocess.run(
        ["sh", "-euc", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=True
    )
    said = re.findall(r"HTTP/1.1 401|No token|Your token|You are|OK(?=\")|Revoked", done.stdout)
    assert said == [
        *("No token", "Your token", "HTTP/1.1 401", "Your token", "You are"),
        *("OK", "HTTP/1.1 401", "Revoked"),
    ]
