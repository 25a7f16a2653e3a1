"""The example ``stores`` on each store, started as a user starts it and asked over HTTP."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest

from tests.support import parts, reforge
from tests.support.stores_process import STORES, Stores, url_of

# One worker starts the servers that are shared, each once.
pytestmark = pytest.mark.xdist_group("examples_stores")

GUARDED = [
    *(("GET", "/profile"), ("POST", "/logout-everywhere"), ("POST", "/password")),
    *(("DELETE", "/logins/x"), ("POST", "/admin/revoke/ann"), ("GET", "/admin/revocations")),
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


def test_a_login_opens_the_profile_and_a_refresh_goes_on_with_it(example: Stores) -> None:
    access, refresh = example.tokens()
    first = example.ask("GET", "/profile", access).body
    assert first == {"name": "ann", "login": parts(access)[1]["sid"]}
    renewed = example.ask("POST", "/refresh", refresh).body["access_token"]
    assert example.ask("GET", "/profile", renewed).body == first


def test_a_logout_ends_both_tokens_of_the_login_and_may_be_repeated(example: Stores) -> None:
    """USERS 38, 40."""
    (access, refresh), (other, _) = example.tokens(), example.tokens()
    for token in (access, access, refresh, None):
        assert example.ask("POST", "/logout", token).status == 200
    assert [example.opens(token) for token in (access, refresh, other)] == [False, False, True]


def test_a_forged_token_logs_nobody_out(example: Stores) -> None:
    """SECURITY A.12 201."""
    access, _ = example.tokens()
    assert example.ask("POST", "/logout", reforge(access)).status == 401
    assert example.opens(access)


def test_a_logout_everywhere_ends_all_logins_and_spares_the_next(example: Stores) -> None:
    """USERS 39."""
    old = [*example.tokens(), *example.tokens()]
    others = example.tokens("eve")
    assert example.ask("POST", "/logout-everywhere", old[0]).status == 200
    new = example.tokens()
    assert not any(example.opens(token) for token in old)
    assert all(example.opens(token) for token in (*new, *others))


def test_a_new_password_ends_all_logins_but_the_one_that_sets_it(example: Stores) -> None:
    phone, laptop = example.tokens(), example.tokens()
    assert example.ask("POST", "/password", laptop[0]).status == 200
    assert not any(example.opens(token) for token in phone)
    assert all(example.opens(token) for token in laptop)


def test_a_login_can_end_itself_and_no_other(example: Stores) -> None:
    mine, other, foreign = example.tokens(), example.tokens(), example.tokens("eve")
    for access, _ in (other, foreign):
        answer = example.ask("DELETE", f"/logins/{parts(access)[1]['sid']}", mine[0])
        assert answer.status == 404
    assert example.ask("DELETE", f"/logins/{parts(mine[0])[1]['sid']}", mine[0]).status == 200
    assert not any(example.opens(token) for token in mine)
    assert example.opens(other[0])
    assert example.opens(foreign[0])


def test_an_admin_ends_a_users_logins_and_the_reason_is_kept_in_sql(example: Stores) -> None:
    (ann, _), (admin, _) = example.tokens(), example.tokens("admin")
    assert example.revoke_ann(admin, "laptop stolen").status == 200
    assert not example.opens(ann)
    written = example.ask("GET", "/admin/revocations", admin)
    if example.store.startswith(("memory", "redis")):
        assert written.status == 404
        return
    latest = tuple(written.body[0][name] for name in ("actor", "kind", "value", "reason"))
    assert latest == ("admin", "subject", "ann", "laptop stolen")


def test_an_admin_says_why_in_words_that_can_be_kept(example: Stores) -> None:
    (ann, _), (admin, _) = example.tokens(), example.tokens("admin")
    for reason in (None, 5, "", " ", "x" * 1001, "a\0"):
        assert example.revoke_ann(admin, reason).status == 400
    assert example.opens(ann)


def test_a_reason_that_no_database_can_hold_is_refused(started: Callable[[str], Stores]) -> None:
    example = started("memory")
    (ann, _), (admin, _) = example.tokens(), example.tokens("admin")
    # Half of a surrogate pair: JSON can say it, UTF-8 can't.
    assert example.revoke_ann(admin, "\ud800").status == 400
    assert example.opens(ann)


def test_whoever_is_no_admin_ends_nobodys_logins(example: Stores) -> None:
    (ann, _), (eve, _) = example.tokens(), example.tokens("eve")
    assert example.revoke_ann(eve, "spite").status == 403
    assert example.ask("GET", "/admin/revocations", eve).status == 403
    assert example.opens(ann)


@pytest.mark.parametrize("guarded", GUARDED)
def test_nothing_but_login_and_logout_goes_without_a_token(
    started: Callable[[str], Stores], guarded: tuple[str, str]
) -> None:
    answer = started("memory").ask(*guarded)
    assert (answer.status, answer.body["error_type"]) == (401, "MissingTokenError")


@pytest.mark.parametrize("name", ["%20", "%00", "a" * 256])
def test_a_name_that_makes_no_sense_is_a_400(started: Callable[[str], Stores], name: str) -> None:
    assert started("memory").ask("POST", f"/login/{name}").status == 400
