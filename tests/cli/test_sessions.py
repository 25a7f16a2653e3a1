"""``flask authx sessions``: a user's sessions listed and revoked, and its exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask

from flask_authx import AuthX, session_revoked, subject_revoked
from tests.support import NOW, SECRET, Clock, bearer, make_app
from tests.support.answers import OK, REVOKED, ask, outcome
from tests.support.browsers import FrailSessions
from tests.support.cli import DONE, LATER, NOT_SO, USAGE, run
from tests.support.corpus import check_all
from tests.support.spy_store import SpyStore, store_app


class Setup:
    """An app with a store that can be made to fail."""

    def __init__(self, **config: Any) -> None:
        self.clock = Clock()
        self.blocklist = SpyStore()
        self.sessions = FrailSessions(self.clock)
        self.app = Flask("tests")
        self.app.config.from_mapping({"JWT_SECRET_KEY": SECRET, **config})
        self.authx = AuthX(
            self.app, blocklist=self.blocklist, sessions=self.sessions, clock=self.clock
        )
        self.app.add_url_rule("/guarded", "guarded", self.authx.token_required(lambda: ""))

    def login(self, uid: str = "ann", **kwargs: Any) -> tuple[str, str]:
        """An access token and its sid."""
        with self.app.app_context():
            token = self.authx.login(uid, **kwargs).access_token
            return token, self.authx.decode_token(token).sid

    def works(self, token: str) -> bool:
        found = outcome(ask(self.app, headers=bearer(token)))
        assert found in {OK, REVOKED}
        return found == OK


@pytest.fixture
def setup() -> Setup:
    return Setup()


# The list


def listed(setup: Setup, columns: int) -> list[str]:
    """The list of ann's sessions in a terminal of so many columns."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COLUMNS", str(columns))
        code, out, err = run(setup.app, "sessions", "ann")
    assert (code, err) == (DONE, "")
    return out.splitlines()


def test_the_table_shows_the_latest_first_with_times_in_utc(setup: Setup) -> None:
    _, first = setup.login(name="the old phone")
    setup.login("bob")
    setup.clock.advance(3600)
    _, second = setup.login()
    head, *rows = listed(setup, 120)
    assert head.split() == ["sid", "name", "created", "last", "seen", "expires"]
    assert [row.split()[0] for row in rows] == [second, first]
    assert "the old phone" in rows[1]
    # 1,800,000,000 is 08:00 on that day.
    assert "2027-01-15 08:00Z" in rows[1]
    assert "2027-01-15 09:00Z" in rows[0]
    starts = {row.index("2027-01-15") for row in rows}
    assert starts == {head.index("created")}


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_list_fits_the_terminal(columns: int) -> None:
    setup = Setup(JWT_SESSION_DETAILS=["user_agent", "address"])
    with setup.app.test_request_context(
        headers={"User-Agent": FIREFOX}, environ_base={"REMOTE_ADDR": "2001:db8:1:2:3:4:5:6"}
    ):
        pair = setup.authx.login("ann", name="the old laptop on the kitchen table, " + "x" * 40)
        sid = setup.authx.decode_token(pair.access_token).sid
    lines = listed(setup, columns)
    assert max(map(len, lines)) <= columns
    assert sum(sid in line for line in lines) == 1
    text = "".join(line.strip() for line in lines)
    for told in ("Firefox on Linux", "2001:db8:1:2:3:4:5:6", "kitchen", "x" * 40, "last seen"):
        assert told in text
    assert (lines[0] == sid) is (columns < 200)


def test_a_session_without_names_is_one_line_of_80_columns(setup: Setup) -> None:
    _, sid = setup.login()
    head, row = listed(setup, 80)
    assert head.split() == ["sid", "created", "last", "seen", "expires"]
    assert row.startswith(sid)
    assert listed(setup, 78)[0] == sid


def test_json_is_a_list_for_scripts(setup: Setup) -> None:
    _, sid = setup.login(name="phone")
    code, out, err = run(setup.app, "sessions", "ann", "--json")
    assert (code, err) == (DONE, "")
    assert json.loads(out) == [
        {
            "sid": sid,
            "name": "phone",
            "created": NOW,
            "last_seen": NOW,
            "expires": NOW + 20 * 86400,
            "ends": NOW + 90 * 86400,
            "user_agent": None,
            "address": None,
        }
    ]
    assert run(setup.app, "sessions", "--json", "ann")[1] == out


def test_a_user_without_sessions_is_no_error(setup: Setup) -> None:
    setup.login("bob")
    assert run(setup.app, "sessions", "ann") == (DONE, "", "ann has no active sessions.\n")
    code, out, _ = run(setup.app, "sessions", "ann", "--json")
    assert (code, json.loads(out)) == (DONE, [])


def test_revoked_and_expired_sessions_are_not_listed(setup: Setup) -> None:
    with setup.app.app_context():
        setup.authx.revoke_session(setup.login()[1])
    setup.login()
    with setup.app.app_context():
        setup.authx.revoke_subject("ann")
    setup.login("bob")
    setup.clock.advance(20 * 86400)
    for uid in ("ann", "bob"):
        assert run(setup.app, "sessions", uid) == (DONE, "", f"{uid} has no active sessions.\n")


def test_a_user_may_be_called_like_a_command(setup: Setup) -> None:
    for uid in ("revoke", "list"):
        _, sid = setup.login(uid)
        code, out, _ = run(setup.app, "sessions", "list", uid)
        assert code == DONE
        assert sid in out


# Revoking


def test_sessions_are_revoked_by_name(setup: Setup) -> None:
    (one, first), (two, second), (three, _) = (setup.login() for _ in range(3))
    what = f"Revoked the session {first} of ann.\nRevoked the session {second} of ann.\n"
    assert run(setup.app, "sessions", "revoke", first, second) == (DONE, what, "")
    assert [setup.works(token) for token in (one, two, three)] == [False, False, True]
    with setup.app.app_context():
        assert len(setup.authx.sessions("ann")) == 1


def test_all_of_a_user_are_revoked(setup: Setup) -> None:
    (one, _), (two, kept), (other, _) = setup.login(), setup.login(), setup.login("bob")
    what = (
        f"Revoked all sessions of ann that have begun so far, except the session {kept} (1 was "
        "active).\n"
    )
    assert run(setup.app, "sessions", "revoke", "--subject", "ann", "--keep", kept) == (
        DONE,
        what,
        "",
    )
    assert [setup.works(token) for token in (one, two, other)] == [False, True, True]
    what = "Revoked all sessions of ann that have begun so far (1 was active).\n"
    assert run(setup.app, "sessions", "revoke", "--subject", "ann") == (DONE, what, "")
    assert [setup.works(token) for token in (two, other)] == [False, True]


def test_twice_is_fine_and_so_is_one_that_is_not_known(setup: Setup) -> None:
    _, sid = setup.login()
    for _ in range(2):
        assert run(setup.app, "sessions", "revoke", sid).code == DONE
    what = "No session never-heard-of is stored. Tokens with this sid are revoked.\n"
    assert run(setup.app, "sessions", "revoke", "never-heard-of") == (DONE, what, "")
    assert run(setup.app, "revoke", "--session", "never-heard-of") == (DONE, what, "")


@pytest.mark.parametrize("command", [["revoke"], ["sessions", "revoke"]])
def test_a_user_without_sessions_is_told_as_such(command: list[str], setup: Setup) -> None:
    done = run(setup.app, *command, "--subject", "anm")
    what = "Revoked all sessions of anm that have begun so far (none was active).\n"
    assert done == (DONE, what, "")
    for _ in range(3):
        setup.login()
    what = what.replace("anm", "ann").replace("none was", "3 were")
    assert run(setup.app, *command, "--subject", "ann") == (DONE, what, "")


def test_a_session_that_is_to_be_kept_and_is_not_there_is_told(setup: Setup) -> None:
    """A mistyped sid logs the user out everywhere."""
    token, _ = setup.login()
    _, of_another = setup.login("bob")
    for keep in ("mistyped", of_another):
        _, out, _ = run(setup.app, "revoke", "--subject", "ann", "--keep", keep, "--dry-run")
        assert out.endswith(f"ann has no active session {keep}: none is kept.\n")
        assert "(1 is active)" in out
    assert setup.works(token)
    run(setup.app, "revoke", "--subject", "ann", "--keep", "mistyped")
    assert not setup.works(token)


def test_a_refresh_token_is_revoked_with_its_session(setup: Setup) -> None:
    with setup.app.app_context():
        pair = setup.authx.login("ann")
        token = setup.authx.decode_token(pair.refresh_token)
    done = run(setup.app, "revoke", "--token-stdin", stdin=pair.refresh_token)
    what = f"the session {token.sid} with the refresh token {token.jti} of ann"
    assert done == (DONE, f"Revoked {what}.\n", "")
    assert not setup.works(pair.access_token)
    done = run(setup.app, "revoke", "--token-stdin", stdin=pair.refresh_token)
    assert done == (DONE, f"Revoked {what}, which was revoked already.\n", "")


# A dry run


def test_a_dry_run_says_what_would_be_revoked_and_writes_nothing(setup: Setup) -> None:
    (one, sid), (two, other) = setup.login(), setup.login()
    everybody = "all sessions of all users that have begun so far"
    cases: list[tuple[list[str], str]] = [
        (["revoke", "--session", sid], f"the session {sid} of ann"),
        (["sessions", "revoke", sid], f"the session {sid} of ann"),
        (
            ["revoke", "--subject", "ann"],
            "all sessions of ann that have begun so far (2 are active)",
        ),
        (
            ["sessions", "revoke", "--subject", "ann", "--keep", other],
            f"all sessions of ann that have begun so far, except the session {other} (1 is active)",
        ),
        (
            ["revoke", "--subject", "bob"],
            "all sessions of bob that have begun so far (none is active)",
        ),
        (["revoke", "--all"], everybody),
    ]
    with setup.app.app_context():
        jti = setup.authx.decode_token(one).jti
    setup.blocklist.calls.clear()
    setup.sessions.frail.calls.clear()
    for arguments, what in cases:
        done = run(setup.app, *arguments, "--dry-run")
        assert done == (DONE, f"Would revoke {what}.\n", "")
    done = run(setup.app, "revoke", "--token-stdin", "--dry-run", stdin=one)
    assert done == (DONE, f"Would revoke the access token {jti} of ann.\n", "")
    done = run(setup.app, "revoke", "--session", "unknown", "--dry-run")
    what = "No session unknown is stored. Tokens with this sid would be revoked.\n"
    assert done == (DONE, what, "")
    assert {*setup.blocklist.calls} <= {"find", "find_dated"}
    assert {*setup.sessions.frail.calls} <= {"get", "of"}
    assert setup.works(one)
    assert setup.works(two)


def test_a_dry_run_does_not_even_write_that_a_store_is_new(setup: Setup) -> None:
    """The entry of the scope revokes all older sessions, once it is written."""
    token, _ = setup.login()
    setup.blocklist.marks.clear()
    setup.blocklist.calls.clear()
    _, out, _ = run(setup.app, "revoke", "--subject", "ann", "--dry-run")
    assert "(none is active)" in out
    run(setup.app, "revoke", "--token-stdin", "--dry-run", stdin=token)
    assert "add_if_absent" not in setup.blocklist.calls
    assert setup.blocklist.marks == {}


def test_a_dry_run_of_a_store_that_fails_ends_with_3(setup: Setup) -> None:
    _, sid = setup.login()
    setup.sessions.frail.error = ConnectionError("down")
    for arguments in (["--session", sid], ["--subject", "ann"]):
        code, out, _ = run(setup.app, "revoke", *arguments, "--dry-run")
        assert (code, out) == (LATER, "")
    # The revocation itself needs the other store alone.
    code, out, _ = run(setup.app, "revoke", "--subject", "ann")
    assert (code, out) == (DONE, "Revoked all sessions of ann that have begun so far.\n")


def test_a_dry_run_refuses_what_a_revocation_does(setup: Setup) -> None:
    for arguments in (["--session", "a b"], ["--subject", ""], ["--subject", "a", "--keep", "b c"]):
        assert run(setup.app, "revoke", *arguments, "--dry-run").code == NOT_SO


def test_the_signals_say_who_and_why(setup: Setup) -> None:
    heard: list[dict[str, Any]] = []

    def receiver(sender: object, **kwargs: Any) -> None:
        heard.append(kwargs)

    for signal in (session_revoked, subject_revoked):
        signal.connect(receiver, setup.app)
    run(setup.app, "sessions", "revoke", setup.login()[1], "--reason", "lost phone")
    run(setup.app, "sessions", "revoke", "--subject", "ann")
    assert [one["reason"] for one in heard] == ["lost phone", None]
    assert all(one["actor"].startswith("cli:") for one in heard)


# What can't be done


WRONG_USAGE = [
    ("ann", "bob"),
    ("ann", "--keep", "x"),
    ("list",),
    ("revoke",),
    ("revoke", "x", "--subject", "ann"),
    ("revoke", "x", "--keep", "y"),
    ("revoke", "--keep", "y"),
    ("revoke", "--subject"),
    ("ann", "--name", "nobody"),
    ("revoke", "x", "--name", "nobody"),
    ("--nonsense", "ann"),
]
UNUSABLE = [
    ("",),
    ("u" * 256,),
    ("revoke", ""),
    ("revoke", "a b"),
    ("revoke", "s" * 256),
    ("revoke", "good", "a b"),
    ("revoke", "--subject", ""),
    ("revoke", "--subject", "ann", "--keep", "a b"),
    ("revoke", "good", "--reason", "r" * 1001),
]


def test_a_wrong_command_line_ends_with_2(setup: Setup) -> None:
    def check(arguments: tuple[str, ...]) -> None:
        code, out, err = run(setup.app, "sessions", *arguments)
        assert (code, out) == (USAGE, "")
        assert "Error: " in err
        assert setup.blocklist.calls == []
        assert setup.sessions.frail.calls == []

    check_all([(str(arguments), arguments) for arguments in WRONG_USAGE], check)


def test_an_unusable_value_ends_with_1_and_nothing_is_done(setup: Setup) -> None:
    def check(arguments: tuple[str, ...]) -> None:
        code, out, err = run(setup.app, "sessions", *arguments)
        assert (code, out) == (NOT_SO, "")
        assert err.startswith("Error: ")
        assert len(err.splitlines()) == 1
        assert "add" not in setup.blocklist.calls

    check_all([(str(arguments), arguments) for arguments in UNUSABLE], check)


@pytest.mark.parametrize("arguments", [("ann",), ("revoke", "x"), ("revoke", "--subject", "ann")])
def test_what_the_app_lacks_ends_with_1_and_says_what_to_set(arguments: tuple[str, ...]) -> None:
    store = SpyStore()
    for app, named in (
        (store_app(store)[0], 'app.config["JWT_SESSIONS"] = True'),
        (make_app()[0], 'app.config["JWT_SESSIONS"] = True'),
        (make_app(BLOCKLIST="memory://", SESSIONS=True)[0], "JWT_BLOCKLIST keeps revocations in"),
        (Flask("tests"), "authx.init_app(app)"),
    ):
        code, out, err = run(app, "sessions", *arguments)
        assert (code, out) == (NOT_SO, "")
        assert named in err
    assert store.calls == []


@pytest.mark.parametrize("arguments", [("ann",), ("revoke", "x"), ("revoke", "--subject", "ann")])
def test_a_store_that_fails_ends_with_3(arguments: tuple[str, ...], setup: Setup) -> None:
    setup.blocklist.error = ConnectionError("down")
    code, out, err = run(setup.app, "sessions", *arguments)
    assert (code, out) == (LATER, "")
    assert err.startswith("Error: ")


def test_a_store_of_sessions_that_fails_ends_with_3(setup: Setup) -> None:
    token, sid = setup.login()
    setup.sessions.frail.error = ConnectionError("down")
    assert run(setup.app, "sessions", "ann")[0] == LATER
    code, _, err = run(setup.app, "sessions", "revoke", sid)
    assert code == LATER
    assert "is in force" in err
    assert not setup.works(token)
