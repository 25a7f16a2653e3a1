"""The example ``mobile_api``: its server as a process of its own, and its client over HTTP."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from examples.mobile_api.client import (
    ATTEMPTS,
    Client,
    LogInAgainError,
    RefusedError,
    UnavailableError,
)
from examples.mobile_api.storage import TokenFile, Tokens
from tests.support import ROOT, SECRET, parts, reforge
from tests.support.answers import REVOKED, Outcome
from tests.support.corpus import check_all
from tests.support.example_process import Example
from tests.support.mobile_line import Line
from tests.support.waiting import until

# One worker starts the shared server once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("examples_mobile_api")]

NAME, PASSWORD = "ann", "a long enough password"
NEVER, ALWAYS = float("inf"), float("-inf")


class MobileAPI(Example):
    """The server. Its secret is known."""

    module = "examples.mobile_api"

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, FLASK_JWT_SECRET_KEY=SECRET, **settings)


class Device:
    """A client and its file of tokens."""

    def __init__(self, url: str, folder: Path, name: str = "phone") -> None:
        self.path = folder / f"{name}.json"
        self.file = TokenFile(self.path)
        self.pauses: list[float] = []
        self.client = Client(url, self.file, device=name, pause=self.pauses.append)

    @property
    def tokens(self) -> Tokens:
        tokens = self.file.read()
        assert tokens is not None
        return tokens

    def logged_in(self) -> Device:
        self.client.login(NAME, PASSWORD)
        return self

    def make_due(self) -> Tokens:
        """Let the access token expire soon, as the client reckons."""
        self.file.write(replace(self.tokens, renew_at=ALWAYS))
        return self.tokens

    def expire(self) -> None:
        """Let the access token have expired, though the client reckons otherwise."""
        then = int(time.time()) - 7200
        access = reforge(self.tokens.access, iat=then, nbf=then, exp=then + 900)
        self.file.write(replace(self.tokens, access=access, renew_at=NEVER))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MobileAPI]:
    server = MobileAPI(tmp_path_factory.mktemp("server"))
    sign_up(server)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MobileAPI]:
    """A server that never accepts a refresh token again that it has replaced."""
    more = {"FLASK_JWT_REFRESH_GRACE": "0", "FLASK_JWT_ACCESS_TOKEN_EXPIRES": "60"}
    server = MobileAPI(tmp_path_factory.mktemp("strict"), **more)
    sign_up(server)
    yield server
    server.stop()


def sign_up(server: MobileAPI) -> None:
    Device(server.url, server.folder, "first").client.sign_up(NAME, PASSWORD)


@pytest.fixture
def phone(server: MobileAPI, tmp_path: Path) -> Device:
    return Device(server.url, tmp_path).logged_in()


# Accounts


def test_a_wrong_password_or_name_is_refused(server: MobileAPI, tmp_path: Path) -> None:
    device = Device(server.url, tmp_path)
    for name, password in ((NAME, "another password"), ("nobody", PASSWORD)):
        with pytest.raises(RefusedError, match="The log-in failed"):
            device.client.login(name, password)
    assert not device.path.exists()


def test_a_wrong_password_is_a_401_in_json(server: MobileAPI) -> None:
    body = {"name": NAME, "password": "another password"}
    response = server.ask("POST", "/auth/login", body=body)
    assert response.outcome == Outcome(401, "LoginFailedError")
    assert response.headers["Content-Type"] == "application/json"


def test_a_name_is_given_once(server: MobileAPI, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="taken"):
        Device(server.url, tmp_path).client.sign_up(NAME, PASSWORD)


def test_an_invalid_name_is_a_400(server: MobileAPI) -> None:
    names: list[object] = ["", "x" * 65, "a\0", "\ud800", None, 5]

    def is_refused(case: tuple[object, str]) -> None:
        name, path = case
        response = server.ask("POST", path, body={"name": name, "password": PASSWORD})
        assert response.status == 400, response

    cases = product(names, ("/accounts", "/auth/login"))
    check_all(((f"{case[1]} with {case[0]!a}", case) for case in cases), is_refused)


# Staying logged in


def test_the_tokens_are_in_a_file_for_its_user_alone(phone: Device) -> None:
    assert phone.client.ask("GET", "/me") == {"name": NAME}
    assert phone.path.stat().st_mode & 0o777 == 0o600
    assert phone.tokens.access not in repr(phone.tokens)


def test_a_valid_access_token_is_used_again(phone: Device) -> None:
    before = phone.tokens
    for _ in range(3):
        phone.client.ask("GET", "/me")
    assert phone.tokens == before


@pytest.mark.parametrize("way", ["make_due", "expire"])
def test_a_token_that_expires_soon_or_has_expired_is_renewed(
    phone: Device, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    getattr(phone, way)()
    before = phone.tokens
    assert phone.client.ask("GET", "/me") == {"name": NAME}
    assert phone.tokens.access != before.access
    assert phone.tokens.refresh != before.refresh
    assert parts(phone.tokens.refresh)[1]["gen"] == 1
    assert phone.pauses == []
    refused = (
        "GET /me: 401 TokenExpiredError - refreshing the tokens, then sending the request again"
    )
    assert caplog.messages == [
        *([refused] if way == "expire" else []),
        "POST /auth/refresh: 200 - saved the new tokens",
        "GET /me: 200 - done",
    ]
    assert phone.tokens.access not in caplog.text
    assert phone.tokens.refresh not in caplog.text


def test_a_lifetime_from_the_environment_says_when(strict: MobileAPI, tmp_path: Path) -> None:
    phone = Device(strict.url, tmp_path)
    phone.client = Client(strict.url, phone.file, clock=lambda: 1000.0)
    phone.logged_in()
    assert phone.tokens.renew_at == 1054
    Client(strict.url, phone.file, clock=lambda: 1053.9).ask("GET", "/me")
    assert parts(phone.tokens.refresh)[1]["gen"] == 0
    Client(strict.url, phone.file, clock=lambda: 1054.0).ask("GET", "/me")
    assert parts(phone.tokens.refresh)[1]["gen"] == 1


def test_many_at_once_send_one_refresh(strict: MobileAPI, tmp_path: Path) -> None:
    """Without grace a second one would revoke the session."""
    phone = Device(strict.url, tmp_path).logged_in()
    phone.make_due()

    def ask(_: int) -> object:
        return Device(strict.url, tmp_path).client.ask("GET", "/me")

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(ask, range(8))] == [{"name": NAME}] * 8
    assert parts(phone.tokens.refresh)[1]["gen"] == 1


# When something is wrong on the way


def test_a_lost_response_is_asked_for_again(
    server: MobileAPI, phone: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Line(server.port, "/auth/refresh", drop=1) as line:
        client = Client(line.url, phone.file, pause=phone.pauses.append)
        before = phone.make_due()
        assert client.ask("GET", "/me") == {"name": NAME}
    assert line.asked == 2
    assert phone.pauses == [1.0]
    assert caplog.messages == [
        "POST /auth/refresh: no answer - kept the tokens, sending the same refresh token in 1 s",
        "POST /auth/refresh: 200 - saved the new tokens",
        "GET /me: 200 - done",
    ]
    # The first has replaced the token; the second has brought what the first had made.
    assert phone.tokens.refresh != before.refresh
    assert parts(phone.tokens.refresh)[1]["gen"] == 1


def test_without_any_response_the_tokens_are_kept(server: MobileAPI, phone: Device) -> None:
    before = phone.make_due()
    with Line(server.port, "/auth/refresh", drop=ATTEMPTS) as line:
        client = Client(line.url, phone.file, pause=phone.pauses.append)
        with pytest.raises(UnavailableError, match="no answer"):
            client.ask("GET", "/me")
        assert (line.asked, phone.tokens) == (ATTEMPTS, before)
        assert client.ask("GET", "/me") == {"name": NAME}


def test_a_store_that_fails_ends_no_session(strict: MobileAPI, tmp_path: Path) -> None:
    """USERS 56."""
    phone = Device(strict.url, tmp_path).logged_in()
    before = phone.make_due()
    with closing(sqlite3.connect(strict.folder / "mobile_api.db")) as database:
        database.execute("ALTER TABLE authx_sessions RENAME TO away")
        with pytest.raises(UnavailableError, match="keep it and try again"):
            phone.client.ask("GET", "/me")
        assert phone.pauses == [1.0] * (ATTEMPTS - 1)
        assert phone.tokens == before
        database.execute("ALTER TABLE away RENAME TO authx_sessions")

    def is_renewed() -> bool:
        with suppress(UnavailableError):
            # As the server asks: a store that keeps failing is left alone for a second.
            Client(strict.url, phone.file).ask("GET", "/me")
        return phone.tokens != before

    until(is_renewed, timeout=60, what="a refresh")
    assert parts(phone.tokens.refresh)[1]["gen"] == 1


# The end of a session


def test_a_copy_that_is_used_revokes_the_session_for_both(
    strict: MobileAPI, tmp_path: Path
) -> None:
    owner = Device(strict.url, tmp_path).logged_in()
    attacker = Device(strict.url, tmp_path, "attacker")
    attacker.file.write(owner.make_due())
    assert attacker.client.ask("GET", "/me") == {"name": NAME}
    with pytest.raises(LogInAgainError, match="RevokedTokenError"):
        owner.client.ask("GET", "/me")
    with pytest.raises(LogInAgainError, match="RevokedTokenError"):
        attacker.client.ask("GET", "/me")
    assert not owner.path.exists()
    assert not attacker.path.exists()
    assert "A refresh token of the account 1 was reused" in strict.log
    assert owner.logged_in().client.ask("GET", "/me") == {"name": NAME}


def test_a_device_is_logged_out_from_another(
    server: MobileAPI, phone: Device, tmp_path: Path
) -> None:
    tablet = Device(server.url, tmp_path, "tablet").logged_in()
    here = {parts(one.tokens.access)[1]["sid"]: one for one in (phone, tablet)}
    listed = phone.client.ask("GET", "/auth/sessions")["sessions"]
    assert {
        (one["sid"], one["user_agent"], one["current"]) for one in listed if one["sid"] in here
    } == {(sid, one.path.stem, one is phone) for sid, one in here.items()}
    [sid] = [sid for sid, one in here.items() if one is tablet]
    phone.client.ask("DELETE", f"/auth/sessions/{sid}")
    with pytest.raises(LogInAgainError, match="RevokedTokenError"):
        tablet.client.ask("GET", "/me")
    assert not tablet.path.exists()
    assert phone.client.ask("GET", "/me") == {"name": NAME}


def test_a_logout_revokes_the_session_and_may_be_repeated(server: MobileAPI, phone: Device) -> None:
    tokens = phone.tokens
    phone.client.logout()
    phone.client.logout()
    assert not phone.path.exists()
    assert server.ask("GET", "/me", tokens.access).outcome == REVOKED
    assert server.ask("POST", "/auth/refresh", tokens.refresh).outcome == REVOKED
    with pytest.raises(LogInAgainError):
        phone.client.ask("GET", "/me")


def test_the_terminal_lists_devices_and_logs_requests(server: MobileAPI, tmp_path: Path) -> None:
    def run(*words: str, password: str = "") -> subprocess.CompletedProcess[str]:
        where = ["--url", server.url, "--folder", str(tmp_path), "--device", "laptop"]
        command = [sys.executable, "-m", "examples.mobile_api.terminal", *where, *words]
        return subprocess.run(
            command, cwd=ROOT, input=password, capture_output=True, text=True, check=False
        )

    done = run("login", NAME, password=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "POST /auth/login: 200 - saved the tokens of a new session\n"
    done = run("me")
    assert done.stdout == f'{{"name": "{NAME}"}}\n'
    assert done.stderr == "GET /me: 200 - done\n"
    assert "laptop (this one)\n" in run("devices").stdout
    assert run("sign-out", "tablet").stderr.endswith(
        "Refused: there is no session on the device tablet.\n"
    )
    run("sign-out", "laptop")
    assert run("me").stderr == (
        "GET /me: 401 RevokedTokenError - deleted the tokens\n"
        "Log in again: The token has been revoked (RevokedTokenError).\n"
    )
