"""Each kind of setting: which values, texts of environment variables too, are read or refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from flask_authx import Location
from flask_authx.enums import Algorithm
from flask_authx.settings import parsers
from tests.support.corpus import by_repr, check_all

Parser = Callable[[object], object]

NO_TEXT: list[Any] = [None, 5, 1.5, True, b"text", ["text"], object()]
NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)
INF, NAN = float("inf"), float("nan")

VALID: list[tuple[Parser, object, object]] = [
    (parsers.iso_date, "2030-12-31", date(2030, 12, 31)),
    (parsers.iso_date, " 20301231 ", date(2030, 12, 31)),
    (parsers.iso_date, date(2030, 12, 31), date(2030, 12, 31)),
    (parsers.audience, "api", "api"),
    (parsers.audience, " api ", "api"),
    (parsers.audience, "api,mail", ("api", "mail")),
    (parsers.audience, ["api"], ("api",)),
    (parsers.boolean, True, True),
    (parsers.boolean, False, False),
    *((parsers.boolean, word, True) for word in ("true", "True", "YES", " on ")),
    *((parsers.boolean, word, False) for word in ("false", "False", "no", "OFF")),
    (parsers.count, 0, 0),
    (parsers.count, 8192, 8192),
    (parsers.count, " 10 ", 10),
    (parsers.positive_count, 1, 1),
    (parsers.positive_count, " 20 ", 20),
    (parsers.seconds, 0, 0),
    (parsers.seconds, 900, 900),
    (parsers.seconds, 15.0, 15),
    (parsers.seconds, timedelta(minutes=15), 900),
    (parsers.seconds, timedelta(0), 0),
    (parsers.seconds, "900", 900),
    (parsers.seconds, "30s", 30),
    (parsers.seconds, "15m", 900),
    (parsers.seconds, " 15m ", 900),
    (parsers.seconds, "1h30m", 5400),
    (parsers.seconds, "2d", 172800),
    (parsers.seconds, "1w2d3h4m5s", 788645),
    (parsers.lifetime, 1, 1),
    (parsers.lifetime, "20d", 1728000),
    (parsers.timeout, 0.25, 0.25),
    (parsers.timeout, 1, 1.0),
    (parsers.timeout, "0.5", 0.5),
    (parsers.timeout, " 2 ", 2.0),
    (parsers.timeout, 0.01, 0.01),
    (parsers.timeout, timedelta(minutes=1), 60.0),
    (parsers.timeout, timedelta(milliseconds=100), 0.1),
    (parsers.positive_duration, 1, 1),
    (parsers.positive_duration, "365d", 31536000),
    (parsers.positive_duration, timedelta(weeks=2), 1209600),
    (parsers.store_url, "memory://", "memory://"),
    (parsers.store_url, "redis://:secret@host/0", "redis://:secret@host/0"),
    (parsers.text, "api", "api"),
    (parsers.text, " padded ", " padded "),
    (parsers.any_text, "", ""),
    (parsers.any_text, "Bearer ", "Bearer "),
    (parsers.quotable, "the archive: /a'b", "the archive: /a'b"),
    (parsers.name, "X-CSRF-TOKEN", "X-CSRF-TOKEN"),
    (parsers.name, "__Host-access_token", "__Host-access_token"),
    (parsers.scheme, "Bearer", "Bearer"),
    (parsers.scheme, "", ""),
    (parsers.texts, "one", ("one",)),
    (parsers.texts, "one, two ,three", ("one", "two", "three")),
    (parsers.texts, ["one", "two"], ("one", "two")),
    (parsers.texts, ("one",), ("one",)),
    (parsers.audiences, "one,two", frozenset({"one", "two"})),
    (parsers.audiences, {"one"}, frozenset({"one"})),
    (parsers.locations, "headers,cookies", frozenset({Location.HEADERS, Location.COOKIES})),
    (parsers.locations, ["query_string"], frozenset({Location.QUERY})),
    (parsers.locations, {Location.JSON}, frozenset({Location.JSON})),
    (parsers.locations, Location.JSON, frozenset({Location.JSON})),
    (parsers.methods, "post, PURGE", frozenset({"POST", "PURGE"})),
    (parsers.methods, ["get"], frozenset({"GET"})),
    (parsers.member(Algorithm), "HS512", Algorithm.HS512),
    (parsers.member(Algorithm), Algorithm.EDDSA, Algorithm.EDDSA),
]

INVALID: list[tuple[Parser, Any]] = [
    *((parsers.boolean, value) for value in (None, 0, 1, 1.0, "", "maybe", "truee", [True])),
    *((parsers.count, value) for value in (None, -1, "-1", 1.0, True, "ten", "", "1.5", [1])),
    *((parsers.positive_count, value) for value in (None, 0, "0", -1, True, 1.0, "ten", "")),
    *((parsers.seconds, value) for value in (None, True, False, -1, -0.5, 1.5, NAN, INF, -INF)),
    *((parsers.seconds, value) for value in (1e10, timedelta(seconds=-1), [900], b"900")),
    (parsers.seconds, timedelta(milliseconds=1500)),
    *((parsers.seconds, value) for value in ("", " ")),
    *((parsers.seconds, value) for value in ("soon", "m", "15 m", "90 m", "15M", "-15m", "1.5h")),
    *((parsers.seconds, value) for value in ("15m!", "15min", "1h 30m", "1e3", "NaN", "inf")),
    *((parsers.lifetime, value) for value in (None, False, True, 0, "0", "0s", timedelta(0))),
    *((parsers.timeout, value) for value in (None, True, False, 0, 0.009, 60.1, -1, NAN, INF)),
    *((parsers.timeout, value) for value in ("", "soon", "nan", "inf", [0.25], b"1", timedelta(0))),
    *(
        (parsers.positive_duration, value)
        for value in (None, False, True, 0, -1, 1.5, "0", "ever", [1])
    ),
    *((parsers.store_url, value) for value in (*NO_TEXT, "", "memory", "redis:host", ["redis://"])),
    *((parsers.text, value) for value in (*NO_TEXT, "", "  ")),
    *((parsers.any_text, value) for value in NO_TEXT),
    *((parsers.quotable, value) for value in (*NO_TEXT, "", 'a"b', "a\\b", "a\nb", "é", "\x7f")),
    *((parsers.name, value) for value in (*NO_TEXT, "", "a b", "a:b", "a;b", "a=b", "a\r\n", "é")),
    *((parsers.scheme, value) for value in (*NO_TEXT, " ", "Bearer ", "Bearer:")),
    *((parsers.texts, value) for value in (None, 5, "", ",", "a,,b", "a,", [], [""], ["a", 5])),
    *((parsers.texts, value) for value in (b"one", {"a": 1}.values())),
    *((parsers.texts, value) for value in (["a", " "], [" ", "\t"])),
    *((parsers.audiences, value) for value in (None, "", 5, ["api", " "])),
    *((parsers.audience, value) for value in (None, "", 5, ["api", " "], "api,")),
    *((parse, "a\ud800") for parse in (parsers.text, parsers.texts, parsers.audience)),
    (parsers.texts, ["api", "\udfff"]),
    *((parsers.iso_date, value) for value in (*NO_TEXT, "", "soon", "31.12.2030", "2030-02-30")),
    *((parsers.iso_date, value) for value in (20301231, "2030-12-31T00:00", NEW_YEAR)),
    *((parsers.locations, value) for value in ("header", "headers;cookies", ["body"], 5, None)),
    *((parsers.methods, value) for value in ("", "GET POST", ["GET", ""], None, ["GET:"])),
    *((parsers.member(Algorithm), value) for value in ("none", "None", "hs256", "", "ES521", None)),
    *((parsers.member(Algorithm), value) for value in (256, ["HS256"], {"HS256"})),
]


def test_a_valid_value_is_read() -> None:
    def check(case: tuple[Parser, object, object]) -> None:
        parse, value, expected = case
        result = parse(value)
        # ``True == 1`` and ``15.0 == 15``: the type counts, too.
        assert (result, type(result)) == (expected, type(expected))

    check_all(by_repr(VALID), check)


def refusal(parse: Parser, value: Any) -> str:
    try:
        result = parse(value)
    except ValueError as error:
        return str(error)
    pytest.fail(f"sent {value!r}, came {result!r}, expected a ValueError")


def test_any_other_value_is_refused_with_what_to_do() -> None:
    advice = re.compile(r"^(set|use|choose|a token must expire)")

    def check(case: tuple[Parser, Any]) -> None:
        assert advice.search(refusal(*case))

    check_all(by_repr(INVALID), check)


def test_a_number_of_any_length_is_refused() -> None:
    for parse in (parsers.count, parsers.seconds, parsers.lifetime):
        for digits in ("9" * 5000, "9" * 5000 + "s"):
            assert refusal(parse, digits)


def test_a_choice_names_the_choices() -> None:
    with pytest.raises(ValueError, match="choose from headers, cookies, query, json"):
        parsers.locations("header")


def test_no_lifetime_is_refused_with_a_reason() -> None:
    for never in (None, False):
        with pytest.raises(ValueError, match="stored forever"):
            parsers.lifetime(never)


def test_a_key_is_left_as_it_is() -> None:
    key = object()
    assert parsers.unchecked(key) is key
