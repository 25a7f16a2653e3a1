"""The example ``mobile_api``: its server as a process of its own, and its client over HTTP."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
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
from tests.support.example_process import Example
from tests.support.mobile_line import Line

# One worker starts the shared server once.
pytestmark = pytest.mark.xdist_group("examples_mobile_api")

NAME, PASSWORD = "ann", "a long enough password"
NEVER, ALWAYS = float("inf"), float("-inf")


class MobileAPI(Example):
    """The server on a free port. Its secret is known, and a busy machine is no fault."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.log_file = folder / "log"
        clean = {name: it for name, it in os.environ.items() if not name.startswith("FLASK_")}
        own = {"FLASK_JWT_SECRET_KEY": SECRET, "FLASK_JWT_STORE_TIMEOUT": "10"}
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "examples.mobile_api", *options(folder)],
                cwd=ROOT,
                env=clean | own | more,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.port = self._port()
        self.url = f"http://127.0.0.1:{self.port}"


def options(folder: Path) -> list[str]:
    return ["--port", "0", "--instance", str(folder)]


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
        """Bring the access token near its end, as the client reckons."""
        self.file.write(replace(self.tokens, renew_at=ALWAYS))
        return self.tokens

    def expire(self) -> None:
        """Give the access token an end in the past, though the client reckons otherwise."""
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
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MobileAPI]:
    """A server that answers a refresh token that it has replaced to nobody."""
    more = {"FLASK_JWT_REFRESH_GRACE": "0", "FLASK_JWT_ACCESS_TOKEN_EXPIRES": "60"}
    server = MobileAPI(tmp_path_factory.mktemp("careless"), **more)
    sign_up(server)
    yield server
    server.stop()


def sign_up(server: MobileAPI) -> None:
    Device(server.url, server.folder, "first").client.sign_up(NAME, PASSWORD)


@pytest.fixture
def phone(server: MobileAPI, tmp_path: Path) -> Device:
    return Device(server.url, tmp_path).logged_in()


# Accounts


def test_a_wrong_password_logs_nobody_in(server: MobileAPI, tmp_path: Path) -> None:
    device = Device(server.url, tmp_path)
    for name, password in ((NAME, "another password"), ("nobody", PASSWORD)):
        with pytest.raises(RefusedError, match="The log-in failed"):
            device.client.login(name, password)
    assert not device.path.exists()


def test_a_name_is_given_once(server: MobileAPI, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="taken"):
        Device(server.url, tmp_path).client.sign_up(NAME, PASSWORD)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\0", "\ud800", None, 5])
def test_a_name_that_makes_no_sense_is_a_400(server: MobileAPI, name: object) -> None:
    body = {"name": name, "password": PASSWORD}
    for path in ("/accounts", "/auth/login"):
        assert server.ask("POST", path, body=body).status == 400


# Going on being logged in


def test_the_tokens_are_in_a_file_for_its_user_alone(phone: Device) -> None:
    assert phone.client.ask("GET", "/me") == {"name": NAME}
    assert phone.path.stat().st_mode & 0o777 == 0o600
    assert phone.tokens.access not in repr(phone.tokens)


def test_a_good_access_token_is_used_again(phone: Device) -> None:
    before = phone.tokens
    for _ in range(3):
        phone.client.ask("GET", "/me")
    assert phone.tokens == before


@pytest.mark.parametrize("way", ["make_due", "expire"])
def test_a_token_near_its_end_or_beyond_is_renewed(phone: Device, way: str) -> None:
    getattr(phone, way)()
    before = phone.tokens
    assert phone.client.ask("GET", "/me") == {"name": NAME}
    assert phone.tokens.access != before.access
    assert phone.tokens.refresh != before.refresh
    assert parts(phone.tokens.refresh)[1]["gen"] == 1
    assert phone.pauses == []


def test_a_lifetime_from_the_environment_says_when(careless: MobileAPI, tmp_path: Path) -> None:
    phone = Device(careless.url, tmp_path)
    phone.client = Client(careless.url, phone.file, clock=lambda: 1000.0)
    phone.logged_in()
    assert phone.tokens.renew_at == 1054
    Client(careless.url, phone.file, clock=lambda: 1053.9).ask("GET", "/me")
    assert parts(phone.tokens.refresh)[1]["gen"] == 0
    Client(careless.url, phone.file, clock=lambda: 1054.0).ask("GET", "/me")
    assert parts(phone.tokens.refresh)[1]["gen"] == 1


def test_many_at_once_send_one_refresh(careless: MobileAPI, tmp_path: Path) -> None:
    """Without grace a second one would end the login."""
    phone = Device(careless.url, tmp_path).logged_in()
    phone.make_due()

    def ask(_: int) -> object:
        return Device(careless.url, tmp_path).client.ask("GET", "/me")

    with ThreadPoolExecutor(8) as pool:
        assert [*pool.map(ask, range(8))] == [{"name": NAME}] * 8
    assert parts(phone.tokens.refresh)[1]["gen"] == 1


# When something is wrong on the way


def test_a_lost_answer_is_asked_for_again(server: MobileAPI, phone: Device) -> None:
    with Line(server.port, "/auth/refresh", drop=1) as line:
        client = Client(line.url, phone.file, pause=phone.pauses.append)
        before = phone.make_due()
        assert client.ask("GET", "/me") == {"name": NAME}
    assert line.asked == 2
    assert phone.pauses == [1.0]
    # The first has replaced the token; the second has brought what the first had made.
    assert phone.tokens.refresh != before.refresh
    assert parts(phone.tokens.refresh)[1]["gen"] == 1


def test_without_any_answer_the_tokens_are_kept(server: MobileAPI, phone: Device) -> None:
    before = phone.make_due()
    with Line(server.port, "/auth/refresh", drop=ATTEMPTS) as line:
        client = Client(line.url, phone.file, pause=phone.pauses.append)
        with pytest.raises(UnavailableError, match="no answer"):
            client.ask("GET", "/me")
        assert (line.asked, phone.tokens) == (ATTEMPTS, before)
        assert client.ask("GET", "/me") == {"name": NAME}


def test_a_store_that_fails_costs_no_login(careless: MobileAPI, tmp_path: Path) -> None:
    """USERS 56."""
    phone = Device(careless.url, tmp_path).logged_in()
    before = phone.make_due()
    with closing(sqlite3.connect(careless.folder / "mobile_api.db")) as database:
        database.execute("ALTER TABLE authx_sessions RENAME TO away")
        with pytest.raises(UnavailableError, match="keep it and try again"):
            phone.client.ask("GET", "/me")
        assert phone.pauses == [1.0] * (ATTEMPTS - 1)
        assert phone.tokens == before
        database.execute("ALTER TABLE away RENAME TO authx_sessions")
    deadline = time.monotonic() + 60
    while phone.tokens == before and time.monotonic() < deadline:
        with suppress(UnavailableError):
            # As the server asks: a store that has failed is left alone for a second.
            Client(careless.url, phone.file).ask("GET", "/me")
    assert parts(phone.tokens.refresh)[1]["gen"] == 1


# The end of a login


def test_a_copy_that_is_used_ends_the_login_for_both(careless: MobileAPI, tmp_path: Path) -> None:
    owner = Device(careless.url, tmp_path).logged_in()
    thief = Device(careless.url, tmp_path, "thief")
    thief.file.write(owner.make_due())
    assert thief.client.ask("GET", "/me") == {"name": NAME}
    with pytest.raises(LogInAgainError, match="RevokedTokenError"):
        owner.client.ask("GET", "/me")
    with pytest.raises(LogInAgainError, match="RevokedTokenError"):
        thief.client.ask("GET", "/me")
    assert not owner.path.exists()
    assert not thief.path.exists()
    assert "A copy of a login of the account 1 was used; it has ended." in careless.log
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


def test_a_logout_ends_the_login_and_may_be_repeated(server: MobileAPI, phone: Device) -> None:
    tokens = phone.tokens
    phone.client.logout()
    phone.client.logout()
    assert not phone.path.exists()
    for token in (tokens.access, tokens.refresh):
        path = "/auth/refresh" if token == tokens.refresh else "/me"
        method = "POST" if token == tokens.refresh else "GET"
        assert server.ask(method, path, token).body["error_type"] == "RevokedTokenError"
    with pytest.raises(LogInAgainError):
        phone.client.ask("GET", "/me")


def test_the_terminal_says_who_is_where(server: MobileAPI, tmp_path: Path) -> None:
    def run(*words: str, password: str = "") -> subprocess.CompletedProcess[str]:
        where = ["--url", server.url, "--folder", str(tmp_path), "--device", "laptop"]
        command = [sys.executable, "-m", "examples.mobile_api.terminal", *where, *words]
        return subprocess.run(
            command, cwd=ROOT, input=password, capture_output=True, text=True, check=False
        )

    assert run("login", NAME, password=f"{PASSWORD}\n").returncode == 0
    assert run("me").stdout == f'{{"name": "{NAME}"}}\n'
    assert "laptop (this one)\n" in run("devices").stdout
    run("sign-out", "laptop")
    assert run("me").stderr == "Log in again: the login is over (RevokedTokenError).\n"
