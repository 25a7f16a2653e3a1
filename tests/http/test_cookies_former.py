"""Cookies that lie where the app no longer sets them: they lock nobody out."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_authx import BadConfigurationError
from tests.support import Clock
from tests.support.answers import (
    ACCESS_COOKIE,
    COMPANION,
    MALFORMED,
    OK,
    REFRESH_COOKIE,
    Outcome,
    ask,
    outcome,
    refresh_cookies,
)
from tests.support.browsers import (
    ACCESS_CSRF,
    HAS_PARTITIONED,
    REFRESH_CSRF,
    Place,
    answer,
    browser,
    browser_app,
    cookies_in,
    csrf_of,
    pair_of,
    place_of,
    plain_app,
    sign_in,
    unset_in,
)
from tests.support.renewal import DUE, renewing_app

SITE = "https://app.example.org"


class Browser:
    """A browser on one host: it tells cookies apart by name, domain, path and partition.

    :param partitions: whether it knows partitions; else it ignores that attribute.
    """

    def __init__(self, app: Flask, *, partitions: bool = True) -> None:
        self._client: FlaskClient = app.test_client(use_cookies=False)
        self._partitions = partitions
        self.kept: dict[Place, str] = {}

    def use(self, app: Flask) -> None:
        """From now on the host serves this app."""
        self._client = app.test_client(use_cookies=False)

    def post(self, path: str, **kwargs: Any) -> TestResponse:
        sent = [
            (place, value)
            for place, value in self.kept.items()
            if f"{path}/".startswith(f"{(place.path or '/').rstrip('/')}/")
        ]
        # RFC 6265 section 5.4: the longer path first.
        sent.sort(key=lambda one: -len(one[0].path or ""))
        headers = {"Cookie": "; ".join(f"{place.name}={value}" for place, value in sent)}
        # A script reads the first cookie of that name.
        values = [value for place, value in sent if place.name == REFRESH_CSRF]
        headers |= {"X-CSRF-TOKEN": values[0]} if values else {}
        response = self._client.post(path, base_url=SITE, headers=headers, **kwargs)
        for header in response.headers.getlist("Set-Cookie"):
            pair, *attributes = header.split("; ")
            name, _, value = pair.partition("=")
            place = place_of(name, attributes)
            if not self._partitions:
                place = unpartitioned(place)
            if "Max-Age=0" in attributes:
                self.kept.pop(place, None)
            else:
                self.kept[place] = value
        return response

    def names(self) -> list[str]:
        return sorted(place.name for place in self.kept)


def unpartitioned(place: Place) -> Place:
    return place._replace(partitioned=False)


THEIRS: dict[str, Any] = {
    "ACCESS_COOKIE_NAME": "access_token_cookie",
    "REFRESH_COOKIE_NAME": "refresh_token_cookie",
}
DOMAIN: dict[str, Any] = {"COOKIE_DOMAIN": "example.org"}
#: What was there before, and the settings of the app now.
MOVES: dict[str, tuple[list[Place], dict[str, Any]]] = {
    "the names of another extension": (
        [
            *(Place(name) for name in ("access_token_cookie", "refresh_token_cookie")),
            *(Place(name) for name in (ACCESS_CSRF, REFRESH_CSRF)),
        ],
        THEIRS,
    ),
    "CSRF cookies of another extension": (
        [Place(REFRESH_CSRF)],
        {"REFRESH_CSRF_COOKIE_PATH": "/auth"},
    ),
    "a domain was added": (
        [
            Place(REFRESH_COOKIE, "/auth"),
            *(Place(name) for name in (ACCESS_CSRF, REFRESH_CSRF, "__Secure-access_token")),
        ],
        DOMAIN,
    ),
    "a domain was removed": (
        [
            Place(REFRESH_COOKIE, "/auth", "example.org"),
            *(Place(name, "/", "example.org") for name in (ACCESS_CSRF, REFRESH_CSRF)),
        ],
        {"COOKIE_FORMER": [{"domain": "example.org"}]},
    ),
    "another path": (
        [Place(REFRESH_COOKIE, "/auth/refresh")],
        {"COOKIE_FORMER": [{"path": "/auth/refresh"}]},
    ),
    "another path and domain": (
        [
            Place(REFRESH_COOKIE, "/", "example.org"),
            Place(REFRESH_COOKIE, "/auth/refresh", "b.example"),
        ],
        {**DOMAIN, "COOKIE_FORMER": [{"path": "/auth/refresh", "domain": "b.example"}]},
    ),
}
if HAS_PARTITIONED:
    MOVES["partitioned from now on"] = (
        [Place(REFRESH_COOKIE, "/auth"), Place(ACCESS_COOKIE), Place(REFRESH_CSRF)],
        {"COOKIE_PARTITIONED": True},
    )
    MOVES["no longer partitioned"] = (
        [Place(REFRESH_COOKIE, "/auth", None, partitioned=True)],
        {},
    )
#: Those whose former place differs from the present one in being partitioned alone.
TWINS = [kind for kind in MOVES if "partitioned" in kind]


def moved(kind: str) -> Browser:
    """A browser that has cookies from before."""
    places, config = MOVES[kind]
    app, _ = browser_app(TOKEN_LOCATION=["cookies"], **config)
    browser = Browser(app)
    browser.kept = dict.fromkeys(places, "of-before")
    return browser


@pytest.mark.parametrize("kind", MOVES)
def test_the_next_log_in_puts_an_end_to_them(kind: str) -> None:
    browser = moved(kind)
    assert outcome(browser.post("/sign-in/ann")) == OK
    assert "of-before" not in browser.kept.values()
    for _ in range(2):
        assert outcome(browser.post("/auth/refresh")) == OK
    assert outcome(browser.post("/auth/logout")) == Outcome(204)
    assert browser.names() == []


@pytest.mark.parametrize("kind", MOVES)
def test_a_log_out_puts_an_end_to_them(kind: str) -> None:
    browser = moved(kind)
    assert browser.post("/auth/logout").status_code in {204, 400, 401}
    assert outcome(browser.post("/sign-in/ann")) == OK
    assert browser.post("/auth/refresh").status_code in {200, 400}
    assert outcome(browser.post("/auth/refresh")) == OK
    assert "of-before" not in browser.kept.values()


@pytest.mark.parametrize("kind", [kind for kind in MOVES if kind not in TWINS])
def test_a_400_for_two_of_them_is_the_last(kind: str) -> None:
    """SECURITY A.19 338"""
    browser = moved(kind)
    before = browser.kept
    browser.kept = {}
    assert outcome(browser.post("/sign-in/ann")) == OK
    live = dict(browser.kept)
    # As if another server of the app still had the former settings.
    browser.kept = {**before, **live}
    name = MOVES[kind][1].get("REFRESH_COOKIE_NAME", REFRESH_COOKIE)
    if browser.names().count(name) > 1:
        response = browser.post("/auth/refresh")
        assert outcome(response) == MALFORMED
        assert "two cookies of one name" in response.get_json()["msg"]
        # Those at the present places stay as they are.
        assert live.items() <= browser.kept.items()
    assert outcome(browser.post("/auth/refresh")) == OK
    assert outcome(browser.post("/auth/refresh")) == OK


@pytest.mark.parametrize("kind", TWINS)
@pytest.mark.parametrize("way", ["/sign-in/ann", "/auth/logout"])
def test_after_a_400_for_two_that_differ_in_their_partition_alone(kind: str, way: str) -> None:
    """It deletes neither, and the next log-in or log-out deletes the former one."""
    browser = moved(kind)
    before = browser.kept
    browser.kept = {}
    assert outcome(browser.post("/sign-in/ann")) == OK
    browser.kept = {**before, **browser.kept}
    both = dict(browser.kept)
    assert outcome(browser.post("/auth/refresh")) == MALFORMED
    assert browser.kept == both
    assert browser.post(way).status_code in {200, 204, 400}
    assert outcome(browser.post("/sign-in/ann")) == OK
    assert "of-before" not in browser.kept.values()
    assert outcome(browser.post("/auth/refresh")) == OK


#: With the names of the cookies that another host can set.
TOSSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, REFRESH_COOKIE, "/auth/refresh"),
    (THEIRS, "refresh_token_cookie", "/auth/refresh"),
    (THEIRS, "access_token_cookie", "/guarded"),
    ({"COOKIE_FORMER": [{"path": "/old"}]}, REFRESH_COOKIE, "/auth/refresh"),
]
if HAS_PARTITIONED:
    TOSSED.append(({"COOKIE_PARTITIONED": True}, REFRESH_COOKIE, "/auth/refresh"))
    TOSSED.append(({"COOKIE_PARTITIONED": True, **THEIRS}, "access_token_cookie", "/guarded"))


@pytest.mark.parametrize(("config", "name", "path"), TOSSED)
@pytest.mark.parametrize("partitions", [True, False])
def test_a_400_does_not_leave_the_planted_one_alone(
    config: dict[str, Any], name: str, path: str, partitions: bool
) -> None:
    """Else it would be accepted from then on, in place of the user's own."""
    app, _ = browser_app(TOKEN_LOCATION=["cookies"], **config)
    browser = Browser(app, partitions=partitions)
    assert outcome(browser.post("/sign-in/ann")) == OK
    own = dict(browser.kept)
    eve = sign_in(app.test_client(), "eve")
    planted = Place(name, "/", "example.org")
    browser.kept[planted] = eve["access_token" if "access" in name else "refresh_token"]
    for _ in range(3):
        assert outcome(browser.post(path)) == MALFORMED
        assert own.items() <= browser.kept.items()
    del browser.kept[planted]
    assert outcome(browser.post("/auth/refresh")) == OK


def test_the_domain_of_a_running_app_can_be_changed_and_changed_back() -> None:
    former: dict[str, Any] = {"COOKIE_FORMER": [{"domain": "example.org"}]}
    apps = [browser_app(TOKEN_LOCATION=["cookies"], **config)[0] for config in ({}, DOMAIN, former)]
    browser = Browser(apps[0])
    for app in apps:
        browser.use(app)
        assert outcome(browser.post("/sign-in/ann")) == OK
        for _ in range(2):
            assert outcome(browser.post("/auth/refresh")) == OK
        refresh = [place for place in browser.kept if place.name == REFRESH_COOKIE]
        assert len(refresh) == 1


def test_the_one_that_verifies_is_not_chosen() -> None:
    """A planted one does."""
    app, _ = browser_app()
    mine = sign_in(app.test_client())["refresh_token"]
    stranger, _ = browser_app()
    planted = sign_in(stranger.test_client(), "eve")["refresh_token"]
    for jar in ((("x", "y"), *refresh_cookies(mine)), refresh_cookies(mine)):
        for other in ("x.y.z", "", planted):
            pairs = "; ".join(f"{name}={value}" for name, value in jar)
            second = f"{REFRESH_COOKIE}={other}"
            for header in (f"{pairs}; {second}", f"{second}; {pairs}"):
                headers = {"Cookie": header} | csrf_of(mine)
                assert outcome(ask(app, "POST", "/auth/refresh", headers=headers)) == MALFORMED


@pytest.mark.parametrize("way", ["guard", "optional", "by itself", "own log-out"])
def test_each_400_for_two_cookies_unsets_the_former_ones(way: str) -> None:
    app, authx = plain_app(home="/auth", TOKEN_LOCATION="cookies", BLOCKLIST="memory://")

    def by_itself() -> str:
        authx.get_token_from_request()
        return "x"

    def own_log_out() -> str:
        authx.logout()
        return "x"

    view = {
        "guard": authx.token_required(lambda: "x"),
        "optional": authx.optional_token(on_invalid="ignore")(lambda: "x"),
        "by itself": by_itself,
        "own log-out": own_log_out,
    }[way]
    app.add_url_rule("/x", "x", view, methods=["POST"])
    twice = {"Cookie": f"{ACCESS_COOKIE}=a; {ACCESS_COOKIE}=b", "Sec-Fetch-Site": "same-origin"}
    response = ask(app, "POST", "/x", headers=twice)
    assert outcome(response) == MALFORMED
    assert Place(REFRESH_COOKIE, "/") in unset_in(response)
    live = {Place(ACCESS_COOKIE), Place(REFRESH_COOKIE, "/auth"), Place(COMPANION)}
    assert {unpartitioned(place) for place in unset_in(response)}.isdisjoint(live)


def test_what_can_only_be_at_one_place_is_unset_at_no_other() -> None:
    """Browsers reject such a header: RFC 6265bis section 4.1.3.2."""
    former = [{"path": "/old"}, {"domain": "b.example"}]
    app, authx = plain_app(BLOCKLIST="memory://", COOKIE_FORMER=former)
    app.add_url_rule("/x", "x", authx.token_required(lambda: "x"), methods=["POST"])
    twice = {"Cookie": f"{ACCESS_COOKIE}=a; {ACCESS_COOKIE}=b"}
    in_400 = unset_in(ask(app, "POST", "/x", headers=twice))
    in_unset = unset_in(answer(app, authx.unset_cookies))
    for found, places in ((in_400, set[str]()), (in_unset, {ACCESS_COOKIE, COMPANION})):
        assert {Place(REFRESH_CSRF, "/old"), Place(ACCESS_CSRF, "/", "b.example")} <= found
        host = {unpartitioned(place) for place in found if place.name.startswith("__Host-")}
        assert host == {Place(name) for name in places}


def test_one_cookie_that_was_sent_twice_is_one() -> None:
    app, _ = browser_app()
    mine = sign_in(app.test_client())["refresh_token"]
    pairs = "; ".join(f"{name}={value}" for name, value in refresh_cookies(mine))
    headers = {"Cookie": f"{pairs}; {pairs}"} | csrf_of(mine)
    assert outcome(ask(app, "POST", "/auth/refresh", headers=headers)) == OK


# What a response sets


@pytest.mark.parametrize("kind", MOVES)
def test_live_cookies_come_last_and_each_place_once(kind: str) -> None:
    """A client that tells cookies apart by their names alone keeps the last one."""
    app, authx = plain_app(**MOVES[kind][1])
    pair = pair_of(app, authx)

    def fill(response: Response) -> None:
        response.set_cookie("theirs", "x", path="/auth")
        authx.set_cookies(response, pair)
        authx.set_cookies(response, pair)

    response = answer(app, fill)
    values = [
        header.partition(";")[0].partition("=")[2]
        for header in response.headers.getlist("Set-Cookie")
    ]
    first_live = next(number for number, value in enumerate(values) if value)
    assert all(values[first_live:])
    found = cookies_in(response)
    assert found[MOVES[kind][1].get("REFRESH_COOKIE_NAME", REFRESH_COOKIE)].value != ""


def test_a_cookie_of_the_app_at_another_place_stays() -> None:
    app, authx = plain_app()

    def fill(response: Response) -> None:
        response.set_cookie(ACCESS_CSRF, "theirs", path="/elsewhere")
        response.set_cookie(REFRESH_COOKIE, "theirs", path="/auth", domain="example.org")
        authx.set_cookies(response, pair_of(app, authx))
        authx.unset_cookies(response)

    headers = answer(app, fill).headers.getlist("Set-Cookie")
    assert sum("=theirs;" in header for header in headers) == 2


def test_a_domain_is_compared_as_browsers_do() -> None:
    """RFC 6265 section 5.2.3: without case and leading dot."""
    config: dict[str, Any] = {"COOKIE_DOMAIN": ".Example.org"}
    former = [{"domain": "example.ORG"}, {"domain": ".example.org", "path": "/auth"}]
    app, authx = plain_app(**config, COOKIE_FORMER=former)
    pair = pair_of(app, authx)
    response = answer(app, lambda to: authx.set_cookies(to, pair))
    assert cookies_in(response)[REFRESH_COOKIE].value == pair.refresh_token
    live = [
        header
        for header in response.headers.getlist("Set-Cookie")
        if header.startswith(f"{REFRESH_COOKIE}=") and "Path=/auth" in header and "Domain" in header
    ]
    assert len(live) == 1 + HAS_PARTITIONED
    response = answer(app, authx.unset_cookies)
    assert len(unset_in(response)) == len(response.headers.getlist("Set-Cookie"))


def test_automatic_renewal_is_not_kept_by_a_cookie_at_another_place() -> None:
    clock = Clock()
    app, _ = renewing_app(clock)
    path = "/elsewhere"

    @app.after_request
    def set_theirs(response: Response) -> Response:
        response.set_cookie(ACCESS_COOKIE, "theirs", path=path)
        return response

    client = browser(app)
    clock.advance(DUE)
    headers = client.get("/guarded").headers.getlist("Set-Cookie")
    assert any(header.startswith(f"{ACCESS_COOKIE}=ey") for header in headers)
    clock.advance(DUE)
    path = "/"
    headers = client.get("/guarded").headers.getlist("Set-Cookie")
    assert not any(header.startswith(f"{ACCESS_COOKIE}=ey") for header in headers)


# The setting


REFUSED: list[tuple[Any, str]] = [
    ("/old", 'such as [{"path": "/"}'),
    ({"path": "/old"}, 'such as [{"path": "/"}'),
    (["/old"], 'such as [{"path": "/"}'),
    ([{}], 'such as [{"path": "/"}'),
    ([{"paths": "/old"}], 'such as [{"path": "/"}'),
    ([{"path": "/old", "name": "x"}], 'such as [{"path": "/"}'),
    ([{"path": "old"}], "path in {'path': 'old'}: set it to a path"),
    ([{"path": None}], "path in {'path': None}: set it to a path"),
    ([{"path": "/a; Secure"}], "set it to a path"),
    ([{"domain": "https://a.example"}], "set it to a domain without scheme"),
    ([{"path": "/", "domain": ""}], "set it to a domain without scheme"),
    (7, 'such as [{"path": "/"}'),
]


@pytest.mark.parametrize(("value", "said"), REFUSED)
def test_a_place_that_is_none_is_refused_with_words(value: Any, said: str) -> None:
    with pytest.raises(BadConfigurationError) as caught:
        plain_app(COOKIE_FORMER=value)
    (problem,) = caught.value.problems
    assert problem.startswith("JWT_COOKIE_FORMER: ")
    assert said in problem


def test_no_place_is_a_place_too() -> None:
    app, authx = plain_app(COOKIE_FORMER=[])
    found = unset_in(answer(app, lambda to: authx.set_cookies(to, pair_of(app, authx))))
    assert {place for place in found if not place.partitioned} == {Place(REFRESH_COOKIE, "/")}
