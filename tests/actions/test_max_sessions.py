"""``JWT_MAX_SESSIONS``: how many logins a user can have, and which give way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_authx import TokenPair, session_revoked
from tests.support.session_sites import Site, heard, site


def newest(pairs: list[TokenPair], here: Site) -> list[str]:
    return [here.sid(pair) for pair in reversed(pairs)]


def test_the_oldest_gives_way() -> None:
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
            "actor": "ann",
            "reason": "JWT_MAX_SESSIONS: a new session replaces the oldest",
            "sid": here.sid(pair),
        }
        for pair in pairs[:2]
    ]


def test_the_oldest_is_the_one_that_began_first_however_lately_it_was_seen() -> None:
    here = site(MAX_SESSIONS=2)
    first = here.log_in()
    here.clock.advance(1)
    second = here.log_in()
    here.clock.advance(1)
    here.renew(first.refresh_token)
    here.log_in()
    assert [here.is_kept(first), here.is_kept(second)] == [False, True]


def test_others_logins_don_t_count_nor_do_those_that_are_over() -> None:
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
    # That they are over has been said; nobody says it again of each.
    assert [entry.kind for entry in here.revocations.added] == ["subject"]


@pytest.mark.parametrize("new", ["a", "z"])
def test_a_new_login_never_gives_way_to_one_of_the_same_second(new: str) -> None:
    """A second log-in that follows at once, as by a double click, must not be dead on arrival."""
    ids = iter(["m", "m-access", "m-refresh", new, f"{new}-access", f"{new}-refresh"])
    here = site(MAX_SESSIONS=1, ids=lambda: next(ids))
    first, second = here.log_in(), here.log_in()
    assert [here.accepts(first), here.accepts(second)] == [False, True]


def test_of_logins_that_race_each_other_enough_stay_and_the_next_one_counts_again() -> None:
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


def test_what_gives_way_is_revoked_before_its_row_is_gone() -> None:
    """Else a refresh that runs beside it would go on with a login that nothing has ended."""
    here = site(MAX_SESSIONS=1)
    oldest = here.log_in()
    seen: list[bool] = []
    here.logins.before["end"] = lambda: seen.append(here.accepts(oldest))
    here.clock.advance(1)
    here.log_in()
    assert seen == [False]


def test_the_next_login_makes_up_for_what_failed() -> None:
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
