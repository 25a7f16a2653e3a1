"""The example ``stores`` on each store, started as a user starts it and asked over HTTP."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.cli import ScriptInfo

from examples.stores import create_app
from flask_authx.cli import authx as group
from tests.examples.shells import in_a_shell, printed
from tests.support import parts, reforge
from tests.support.answers import INVALID, MISSING, OK
from tests.support.corpus import check_all
from tests.support.stores_process import LASTING, STORES, Stores, url_of

# One worker starts the servers that are shared, each once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("examples_stores")]

GUARDED = [
    *(("GET", "/profile"), ("POST", "/logout-everywhere"), ("POST", "/password")),
    *(("DELETE", "/sessions/x"), ("POST", "/admin/revoke/ann"), ("GET", "/admin/revocations")),
    ("POST", "/refresh"),
]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stores]]:
    running: list[Stores] = []

    @functools.cache
    def start(kind: str) -> Stores:
        folder = tmp_path_factory.mktemp(kind)
        running.append(Stores(folder, url_of(kind, folder)))
        return running[-1]

    yield start
    for example in running:
        example.stop()


@pytest.fixture(params=STORES)
def example(request: pytest.FixtureRequest, started: Callable[[str], Stores]) -> Stores:
    return started(request.param)


# The routes


def test_a_session_has_a_profile_also_after_a_refresh(example: Stores) -> None:
    access, refresh = example.tokens()
    first = example.ask("GET", "/profile", access).body
    assert first == {"name": "ann", "session": parts(access)[1]["sid"]}
    renewed = example.ask("POST", "/refresh", refresh).body["access_token"]
    assert example.ask("GET", "/profile", renewed).body == first


def test_a_logout_revokes_both_tokens_of_the_session_and_may_be_repeated(example: Stores) -> None:
    """USERS 38, 40."""
    (access, refresh), (other, _) = example.tokens(), example.tokens()
    for token in (access, access, refresh, None):
        assert example.ask("POST", "/logout", token).outcome == OK
    example.check(revoked=[access, refresh], accepted=[other])


def test_a_forged_token_logs_no_user_out(example: Stores) -> None:
    """SECURITY A.12 201."""
    access, _ = example.tokens()
    assert example.ask("POST", "/logout", reforge(access)).outcome == INVALID
    example.check(accepted=[access])


def test_a_logout_everywhere_revokes_all_sessions_and_none_that_follows(example: Stores) -> None:
    """USERS 39."""
    old = [*example.tokens(), *example.tokens()]
    others = example.tokens("eve")
    assert example.ask("POST", "/logout-everywhere", old[0]).outcome == OK
    example.check(revoked=old, accepted=[*example.tokens(), *others])


def test_a_new_password_revokes_all_sessions_but_the_one_that_sets_it(example: Stores) -> None:
    phone, laptop = example.tokens(), example.tokens()
    assert example.ask("POST", "/password", laptop[0]).outcome == OK
    example.check(revoked=phone, accepted=laptop)


def test_a_session_can_end_itself_and_no_other(example: Stores) -> None:
    mine, other, foreign = example.tokens(), example.tokens(), example.tokens("eve")
    for access, _ in (other, foreign):
        refused = example.ask("DELETE", f"/sessions/{parts(access)[1]['sid']}", mine[0])
        assert refused.status == 404, refused
    assert example.ask("DELETE", f"/sessions/{parts(mine[0])[1]['sid']}", mine[0]).outcome == OK
    example.check(revoked=mine, accepted=[other[0], foreign[0]])


def test_an_admin_revokes_a_users_sessions_and_the_reason_is_kept_in_sql(example: Stores) -> None:
    (ann, _), (admin, _) = example.tokens(), example.tokens("admin")
    assert example.revoke_ann(admin, "phone lost").outcome == OK
    example.check(revoked=[ann])
    written = example.ask("GET", "/admin/revocations", admin)
    if example.store.startswith(("memory", "redis")):
        assert written.status == 404, written
        return
    latest = tuple(written.body[0][name] for name in ("actor", "kind", "value", "reason"))
    assert latest == ("user:admin", "subject", "ann", "phone lost")


def test_an_admin_says_why_in_words_that_can_be_kept(example: Stores) -> None:
    (ann, _), (admin, _) = example.tokens(), example.tokens("admin")
    for reason in (None, 5, "", " ", "x" * 1001, "a\0"):
        refused = example.revoke_ann(admin, reason)
        assert refused.status == 400, refused
    example.check(accepted=[ann])


def test_a_reason_that_no_database_can_hold_is_refused(started: Callable[[str], Stores]) -> None:
    example = started("memory")
    (ann, _), (admin, _) = example.tokens(), example.tokens("admin")
    # Half of a surrogate pair: JSON can say it, UTF-8 can't.
    refused = example.revoke_ann(admin, "\ud800")
    assert refused.status == 400, refused
    example.check(accepted=[ann])


def test_only_an_admin_revokes_the_sessions_of_others(example: Stores) -> None:
    (ann, _), (eve, _) = example.tokens(), example.tokens("eve")
    for refused in (example.revoke_ann(eve, "x"), example.ask("GET", "/admin/revocations", eve)):
        assert refused.status == 403, refused
    example.check(accepted=[ann])


def test_all_but_log_in_and_log_out_needs_a_token(started: Callable[[str], Stores]) -> None:
    def needs_a_token(route: tuple[str, str]) -> None:
        assert started("memory").ask(*route).outcome == MISSING

    check_all({" ".join(route): route for route in GUARDED}, needs_a_token)


def test_an_invalid_name_is_a_400(started: Callable[[str], Stores]) -> None:
    for name in ("%20", "%00", "a" * 256):
        refused = started("memory").ask("POST", f"/login/{name}")
        assert refused.status == 400, refused


# A restart


def test_a_restart_keeps_revocations(example: Stores) -> None:
    """USERS 42; SECURITY A.5 106."""
    session, user, valid = example.tokens(), example.tokens("eve"), example.tokens("joe")
    example.ask("POST", "/logout", session[0])
    example.ask("POST", "/logout-everywhere", user[0])
    example.stop()
    example.start()
    if example.store.startswith("memory"):
        # It has forgotten what it revoked, so it accepts nothing from before.
        for access, _ in (session, user, valid):
            assert example.use(access).outcome == INVALID
        return
    example.check(revoked=[*session, *user], accepted=valid)
    (secret,) = example.folder.glob("*.secret")
    assert secret.stat().st_mode & 0o777 == 0o600


# The command line


@pytest.mark.usefixtures("own_settings")
@pytest.mark.parametrize("kind", LASTING)
def test_the_command_line_revokes_what_the_running_app_then_refuses(
    started: Callable[[str], Stores], kind: str
) -> None:
    example = started(kind)
    access, refresh = example.tokens()
    app = create_app(example.store, str(example.folder))
    assert "Revoked the access token" in command(app, "revoke", "--token-stdin", stdin=access)
    example.check(revoked=[access], accepted=[refresh])
    said = command(app, "revoke", "--subject", "ann", "--reason", "asked by phone")
    assert "Revoked all sessions of ann" in said
    example.check(revoked=[refresh])
    counts = json.loads(command(app, "blocklist", "--json"))["counts"]
    assert sum(counts["token"].values()) >= 1
    assert sum(counts["subject"].values()) >= 1
    # Other tests of this process have left expired ones on the servers.
    removed = "Redis removes expired" if kind == "redis" else r"Removed [\d,]+ expired revocations"
    assert re.search(removed, command(app, "prune"))
    example.check(revoked=[access])
    hints = json.loads(command(app, "doctor", "--json"))
    assert {entry["level"] for entry in hints} <= {"ok", "hint", "warning"}
    assert {entry["check"]: entry["level"] for entry in hints}["unguarded views"] == "ok"


def command(app: Flask, *arguments: str, stdin: str = "") -> str:
    """What ``flask authx`` prints for the app."""
    info = ScriptInfo(create_app=lambda: app)
    done = app.test_cli_runner().invoke(group, arguments, obj=info, input=stdin)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_the_printed_lines_do_what_is_said_of_them(tmp_path: Path, kind: str) -> None:
    """On a server of its own: the last lines show all that was ever revoked in the store."""
    found = r"HTTP/1.1 401|\"name\":\"ann\"|other sessions|logged out|stolen|no audit trail|Revoked"
    example = Stores(tmp_path, url_of(kind, tmp_path))
    try:
        said = in_a_shell(printed(example))
    finally:
        example.stop()
    assert re.findall(found + "|errors: 0", said) == [
        *('"name":"ann"', "other sessions", "HTTP/1.1 401", "Revoked", '"name":"ann"'),
        *("logged out", "logged out", "HTTP/1.1 401", "Revoked"),
        *("HTTP/1.1 401", "Revoked", "stolen" if kind == "sqlite" else "no audit trail"),
        *("Revoked", "errors: 0"),
    ]


@pytest.mark.parametrize("kind", ["redis", "postgresql"])
def test_the_printed_commands_revoke_in_the_store_that_is_served(
    started: Callable[[str], Stores], kind: str
) -> None:
    """On the file that is the default: test_stores_start.py."""
    example = started(kind)
    access, _ = example.tokens()
    lines = [line for line in printed(example) if re.search("export|authx revoke", line)]
    assert "Revoked all sessions of ann" in in_a_shell(lines)
    example.check(revoked=[access])


def test_no_commands_are_printed_for_a_memory(started: Callable[[str], Stores]) -> None:
    example = started("memory")
    assert "flask" not in "".join(printed(example))
    assert "each process has its own memory store" in example.log
