"""``authx.login()``: a session is a row and two tokens, or nothing."""

from __future__ import annotations

import itertools
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_authx import StoreBusyError, StoreUnavailableError, TokenPair, session_revoked
from tests.support import NOW, Clock, make_app, parts
from tests.support.answers import ask
from tests.support.corpus import by_repr, check_all
from tests.support.session_sites import Site, heard, pair_in, site
from tests.support.spy_store import works

AT = int(NOW)


DAY = 86400


DOWN = ConnectionError("down")


def test_the_row_says_what_the_tokens_say() -> None:
    here = site(clock=Clock(NOW + 0.75))
    pair = here.log_in("ann", name="Ann's phone")
    access, refresh, row = here.token(pair.access_token), here.token(pair.refresh_token), here.row
    kept = row(pair)
    assert (kept.sid, kept.sub, kept.name) == (access.sid, "ann", "Ann's phone")
    assert refresh.sid == access.sid
    assert access.auth_time == refresh.auth_time == kept.created == kept.last_seen == AT
    assert kept.generation == 0
    assert (kept.expires, kept.ends) == (AT + 20 * DAY, AT + 90 * DAY)
    assert refresh.exp == kept.expires
    assert (kept.user_agent, kept.address) == (None, None)
    assert here.accepts(pair)


def test_only_refresh_tokens_say_which_generation_they_are_of() -> None:
    here = site()
    pair = here.log_in()
    assert parts(pair.refresh_token)[1]["gen"] == 0
    assert "gen" not in parts(pair.access_token)[1]


@pytest.mark.parametrize("fresh", [None, True, False])
def test_the_access_token_is_fresh_unless_told_otherwise(fresh: bool | None) -> None:
    here = site()
    pair = here.log_in(**({} if fresh is None else {"fresh": fresh}))
    assert here.token(pair.access_token).fresh is (fresh is not False)
    assert not here.token(pair.refresh_token).fresh


def test_both_tokens_carry_what_the_app_gives() -> None:
    here = site(DECODE_AUDIENCE="shop")
    here.claims_by(lambda uid: {"plan": "free", "about": uid})
    pair = here.log_in("ann", data={"plan": "paid"}, audience=["shop", "x"], scopes=["a", "b:c"])
    for raw in (pair.access_token, pair.refresh_token):
        token = here.token(raw)
        assert (token.claims["plan"], token.claims["about"]) == ("paid", "ann")
        assert token.aud == {"shop", "x"}
        assert token.scopes == {"a", "b:c"}


@pytest.mark.parametrize(
    ("lifetime", "expected"), [(30, (30, 30)), (3600, (900, 3600)), (20 * DAY, (900, 20 * DAY))]
)
def test_no_token_outlives_its_session(lifetime: int, expected: tuple[int, int]) -> None:
    here = site(SESSION_LIFETIME=lifetime, ACCESS_TOKEN_EXPIRES=900)
    pair = here.log_in()
    assert (pair.expires_in, pair.refresh_expires_in) == expected
    assert here.token(pair.access_token).exp == AT + expected[0]
    assert here.token(pair.refresh_token).exp == AT + expected[1]
    assert here.row(pair).expires == AT + expected[1]


@pytest.mark.parametrize("uid", [7, uuid.UUID(int=5), "Zoë"])
def test_whom_it_is_for_is_kept_as_the_tokens_say_it(uid: Any) -> None:
    here = site()
    pair = here.log_in(uid)
    assert here.row(pair).sub == here.token(pair.access_token).sub == str(uid)
    assert here.listed(uid) == [here.sid(pair)]


WRONG: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"uid": True}, TypeError),
    ({"uid": ""}, ValueError),
    ({"data": {"gen": 5}}, ValueError),
    ({"data": {"sid": "x"}}, ValueError),
    ({"data": {"x": b"bytes"}}, TypeError),
    ({"scopes": "a b"}, TypeError),
    ({"scopes": ["a b"]}, ValueError),
    ({"audience": []}, ValueError),
    ({"name": ""}, ValueError),
    ({"name": "two\nlines"}, ValueError),
    ({"name": "x" * 256}, ValueError),
    ({"name": 5}, TypeError),
]


def test_what_is_wrong_comes_out_before_anything_is_written() -> None:
    def check(case: tuple[dict[str, Any], type[Exception]]) -> None:
        kwargs, error = case
        here = site()
        with pytest.raises(error):
            here.log_in(**{"uid": "ann", **kwargs})
        assert here.logins.calls == []
        assert "add" not in here.revocations.calls

    check_all(by_repr(WRONG), check)


def test_a_claims_callback_that_fails_leaves_no_row() -> None:
    here = site()

    @here.authx.set_callback_additional_claims
    def claims(uid: str) -> dict[str, Any]:
        raise LookupError(uid)

    with pytest.raises(LookupError):
        here.log_in()
    assert here.logins.calls == []


def test_a_session_right_after_a_revocation_of_all_is_valid() -> None:
    """USERS 39"""
    here = site()
    before = here.log_in()
    with here.app.app_context():
        here.authx.revoke_subject("ann")
    after = here.log_in()
    assert not here.accepts(before)
    assert here.accepts(after)
    began = (AT + 10) * 10**6 + 1
    assert here.row(after).began == here.token(after.access_token).parsed.began == began
    assert here.token(after.refresh_token).parsed.began == began
    # Its ends are reckoned from this moment.
    assert (here.row(after).expires, here.row(after).ends) == (AT + 20 * DAY, AT + 90 * DAY)
    assert here.listed() == [here.sid(after)]
    assert here.generation(here.renew(after.refresh_token)) == 1


def test_it_costs_one_look_up_and_one_write() -> None:
    here = site(MAX_SESSIONS=0, PRUNE_ON_WRITE=0)
    here.log_in()
    assert (here.revocations.calls, here.logins.calls) == (["find_dated"], ["open"])


def test_each_new_session_removes_some_that_have_expired() -> None:
    here = site()
    old = here.log_in("bob")
    here.clock.advance(21 * DAY)
    here.log_in("ann")
    assert not here.is_kept(old)
    assert "sweep" in here.logins.calls


@pytest.mark.parametrize("failing", ["sweep", "end"])
def test_a_failing_clean_up_fails_no_login(failing: str) -> None:
    here = site(MAX_SESSIONS=1)
    here.log_in()
    here.clock.advance(1)
    here.logins.fail(failing, error=DOWN)
    pair = here.log_in()
    assert here.accepts(pair)
    assert here.is_kept(pair)


def test_while_the_store_of_revocations_fails_no_session_is_opened() -> None:
    here = site()
    here.revocations.error = DOWN
    with pytest.raises(StoreUnavailableError):
        here.log_in()
    assert here.logins.calls == []


def test_a_lenient_app_opens_sessions_without_knowing_which_are_revoked() -> None:
    here = site(BLOCKLIST_ON_ERROR="accept")
    here.revocations.error, here.revocations.failing = DOWN, frozenset({"find"})
    assert here.is_kept(here.log_in())


def login_view(here: Site) -> None:
    @here.app.post("/login")
    def login() -> dict[str, Any]:
        return here.authx.login("ann").to_dict()


@pytest.mark.parametrize("late", [False, True])
def test_a_row_that_could_not_be_written_is_a_503_without_tokens(late: bool) -> None:
    here = site()
    login_view(here)
    here.logins.fail("open", error=StoreBusyError("busy"), late=late)
    response = ask(here.app, "POST", "/login")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    body: Any = response.get_json()
    assert body == {
        "msg": "The session could not be opened right now",
        "error_type": "StoreUnavailableError",
    }
    here.logins.heal()
    assert here.accepts(pair_in(ask(here.app, "POST", "/login")))


def test_a_response_with_tokens_is_kept_by_no_cache() -> None:
    here = site()
    login_view(here)
    assert ask(here.app, "POST", "/login").headers["Cache-Control"] == "no-store"


# Without sessions, and with them


@pytest.mark.parametrize(("name", "prefix"), [("authx", "JWT_"), ("admin", "ADMIN_JWT_")])
def test_without_sessions_each_method_names_the_setting(name: str, prefix: str) -> None:
    app, authx = make_app(name=name, BLOCKLIST="memory://")
    with app.app_context():
        refresh = authx.create_refresh_token("ann")
        for call in (
            lambda: authx.login("ann"),
            lambda: authx.refresh(refresh),
            lambda: authx.sessions("ann"),
            lambda: authx.name_session("sid", "x"),
        ):
            with pytest.raises(
                RuntimeError, match=f'"{prefix}SESSIONS"] = True.*{prefix}BLOCKLIST'
            ):
                call()


def test_with_sessions_refresh_tokens_come_from_login_alone() -> None:
    here = site()
    access = here.log_in().access_token
    with here.app.app_context():
        session = here.authx.decode_token(access)
        for call, what in (
            (lambda: here.authx.create_refresh_token("ann"), "create_refresh_token"),
            (lambda: here.authx.create_refresh_token("ann", login=session), "create_refresh_token"),
            (lambda: here.authx.create_token_pair("ann"), "create_token_pair"),
        ):
            with pytest.raises(
                RuntimeError, match=rf"{what}\(\).*JWT_SESSIONS.*authx\.login\(uid\)"
            ):
                call()
        # An access token by itself, as for a link in a mail, is nothing that could be refreshed.
        alone = here.authx.create_access_token("ann")
    assert works(here.app, alone)


# ``JWT_MAX_SESSIONS``: how many sessions a user can have, and which give way


def newest(pairs: list[TokenPair], here: Site) -> list[str]:
    return [here.sid(pair) for pair in reversed(pairs)]


def test_the_one_unused_for_longest_gives_way() -> None:
    """SECURITY A.6 114"""
    here = site(MAX_SESSIONS=2)
    pairs: list[TokenPair] = []
    with heard(session_revoked) as revoked:
        for _ in range(4):
            here.clock.advance(1)
            pairs.append(here.log_in())
            assert here.listed() == newest(pairs, here)[:2]
    assert [here.accepts(pair) for pair in pairs] == [False, False, True, True]
    assert [here.is_kept(pair) for pair in pairs] == [False, False, True, True]
    assert revoked.times == [
        {
            "name": "authx",
            "actor": "user:ann",
            "reason": "JWT_MAX_SESSIONS: a new session replaces the one longest unused",
            "sid": here.sid(pair),
        }
        for pair in pairs[:2]
    ]


@pytest.mark.parametrize("used", [*itertools.permutations(range(3))], ids=str)
def test_what_counts_is_the_last_use_and_not_the_log_in(used: tuple[int, ...]) -> None:
    here = site(MAX_SESSIONS=3)
    pairs: list[TokenPair] = []
    for _ in used:
        here.clock.advance(1)
        pairs.append(here.log_in())
    for number in used:
        here.clock.advance(1)
        pairs[number] = here.renew(pairs[number].refresh_token)
    for first, second in itertools.pairwise((*used, 3)):
        here.clock.advance(1)
        pairs.append(here.log_in())
        assert [here.accepts(pairs[first]), here.accepts(pairs[second])] == [False, True]


def rows_of(here: Site) -> int:
    """How many rows there are, also of sessions that have expired."""
    return sum(here.logins.row(sid) is not None for sid in here.logins.keys)


def test_a_log_in_reads_and_ends_so_many_and_each_leaves_fewer() -> None:
    """A robot's thousands of sessions, from before there was a limit, would hold up its log-in."""
    before = site(MAX_SESSIONS=0)
    pairs = [before.log_in() for _ in range(260)]
    # Of all that are not read, none is in use.
    here = site(like=before, MAX_SESSIONS=30)
    for left in (251, 242, 233):
        with heard(session_revoked) as revoked:
            here.clock.advance(1)
            pairs.append(here.log_in())
        assert here.logins.limits[-1] == 230
        assert len(revoked.times) == 10
        assert rows_of(here) == left
    for _ in range(30):
        here.clock.advance(1)
        pairs.append(here.log_in())
    assert rows_of(here) == 30
    assert [here.accepts(pair) for pair in pairs] == [False] * 263 + [True] * 30


def test_sessions_that_have_ended_do_not_hide_others_from_the_limit() -> None:
    before = site(MAX_SESSIONS=0, PRUNE_ON_WRITE=0)
    expired = {before.sid(before.log_in()) for _ in range(250)}
    before.clock.advance(21 * DAY)
    here = site(like=before, MAX_SESSIONS=1, PRUNE_ON_WRITE=0)
    with heard(session_revoked) as revoked:
        for number in range(1, 30):
            here.clock.advance(1)
            here.log_in()
            # The store itself removes two.
            assert 250 - 11 * number <= rows_of(here) <= max(1, 250 - 9 * number)
    assert len(here.listed()) == 1
    # Their rows are removed, and that is all.
    assert not expired & {one["sid"] for one in revoked.times}
    assert len(revoked.times) == 28


def test_of_many_those_unused_for_longest_go_first() -> None:
    before = site(MAX_SESSIONS=0)
    pairs: list[TokenPair] = []
    for _ in range(25):
        before.clock.advance(1)
        pairs.append(before.log_in())
    here = site(like=before, MAX_SESSIONS=3)
    for gone in (10, 20, 25, 26):
        here.clock.advance(1)
        pairs.append(here.log_in())
        assert [here.accepts(pair) for pair in pairs] == [False] * gone + [True] * (
            len(pairs) - gone
        )


def test_where_few_rows_are_read_the_one_in_use_is_not_ended() -> None:
    """Those that are read and unused for longest are beyond the limit, whatever else there is."""
    before = site(MAX_SESSIONS=0)
    pairs = [before.log_in() for _ in range(400)]
    here = site(like=before, MAX_SESSIONS=20)
    here.clock.advance(1)
    used = [here.renew(pair.refresh_token) for pair in pairs[::40]]
    for _ in range(60):
        here.clock.advance(1)
        here.log_in()
        used = [here.renew(pair.refresh_token) for pair in used]
    assert all(map(here.accepts, used))
    assert len(here.listed()) == 20


def test_sessions_of_others_and_revoked_ones_do_not_count() -> None:
    here = site(MAX_SESSIONS=2)
    first = here.log_in()
    others = [here.log_in("bob"), here.log_in("bob")]
    ended = [here.log_in("cat"), here.log_in("cat")]
    with here.app.app_context():
        here.authx.revoke_subject("cat")
    here.clock.advance(5)
    later = [here.log_in(), here.log_in("cat"), here.log_in("cat")]
    assert all(map(here.accepts, [first, *others, *later]))
    assert not any(map(here.is_kept, ended))
    # The revocation of the user has revoked them; no entry is added for each.
    assert [entry.kind for entry in here.revocations.added] == ["subject"]


@pytest.mark.parametrize("new", ["a", "z"])
def test_a_new_session_never_gives_way_to_one_of_the_same_second(new: str) -> None:
    """A second log-in that follows at once, as by a double click, must not be revoked at once."""
    ids = iter(["m", "m-access", "m-refresh", new, f"{new}-access", f"{new}-refresh"])
    here = site(MAX_SESSIONS=1, ids=lambda: next(ids))
    first, second = here.log_in(), here.log_in()
    assert [here.accepts(first), here.accepts(second)] == [False, True]


def test_of_racing_sessions_enough_stay_and_the_next_one_counts_again() -> None:
    """None ends one that it has not seen before itself, so they never end each other."""
    here = site(MAX_SESSIONS=3)
    start = threading.Barrier(8, timeout=60)

    def log_in(_: int) -> TokenPair:
        start.wait()
        return here.log_in()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            here.clock.advance(1)
            pairs = [*pool.map(log_in, range(8))]
            live = [here.sid(pair) for pair in pairs if here.accepts(pair)]
            assert len(live) >= 3
            assert set(here.listed()) >= set(live)
            here.clock.advance(1)
            last = here.log_in()
            assert here.accepts(last)
            # Those from rounds before are older than any of these.
            live = [here.sid(pair) for pair in [*pairs, last] if here.accepts(pair)]
            assert sorted(here.listed()) == sorted(live)
            assert len(live) == 3


def test_a_session_is_revoked_before_its_row_is_removed() -> None:
    """Else a refresh that runs beside it would go on with a session that is not revoked."""
    here = site(MAX_SESSIONS=1)
    oldest = here.log_in()
    seen: list[bool] = []
    here.logins.before["end"] = lambda: seen.append(here.accepts(oldest))
    here.clock.advance(1)
    here.log_in()
    assert seen == [False]


def test_the_next_session_makes_up_for_what_failed() -> None:
    here = site(MAX_SESSIONS=1)
    pairs = [here.log_in()]
    # Another worker each time: one that has seen a store fail leaves it alone for a second.
    for failing in (True, False):
        here.clock.advance(1)
        here.revocations.error = ConnectionError("down") if failing else None
        here.revocations.failing = frozenset({"add"})
        pairs.append(site(like=here, MAX_SESSIONS=1).log_in())
        assert here.accepts(pairs[0]) is failing
    assert [here.accepts(pair) for pair in pairs] == [False, False, True]


def test_without_a_limit_nothing_is_looked_up() -> None:
    here = site(MAX_SESSIONS=0)
    pairs = [here.log_in() for _ in range(120)]
    assert all(map(here.accepts, pairs))
    assert "of" not in here.logins.calls
