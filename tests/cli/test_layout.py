"""How output fits a terminal, and what a client is called in it."""

from __future__ import annotations

import pytest

from flask_authx.cli.layout import client_name, columns, pairs, table, utc

CLIENTS = {
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36": "Chrome on Windows",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.86": "Edge on Windows",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0": "Opera on Windows",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Mobile Safari/537.36": "Chrome on Android",
    "Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) "
    "SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36": "Samsung Internet on Android",
    "Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0": "Firefox on Android",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/17.5 Mobile/15E148 Safari/604.1": "Safari on iPhone",
    "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1": "Chrome on iPad",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.6 Safari/605.1.15": "Safari on macOS",
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36": "Chrome on ChromeOS",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0": "Firefox on Linux",
    "Mozilla/5.0 (compatible; Konqueror)": "browser",
    "okhttp/4.12.0": "okhttp/4.12.0",
    "Shop/3.1 (com.example.shop; build:5; iOS 17.5; iPhone15,2)": "Shop/3.1 on iPhone",
    "python-requests/2.32.3": "python-requests/2.32.3",
    "curl/8.5.0 " + "x " * 200: "curl/8.5.0 x x x x x x x x x x x x x ...",
    "shop-app/1.0+" + "a" * 60: "shop-app/1.0+" + "a" * 23 + " ...",
    "a" * 40: "a" * 40,
    "": "-",
}


@pytest.mark.parametrize("sent", CLIENTS)
def test_a_client_in_short(sent: str) -> None:
    assert client_name(sent) == CLIENTS[sent]


def test_a_client_that_says_nothing() -> None:
    assert client_name(None) == "-"


def test_a_client_can_not_steer_the_terminal() -> None:
    """An app's own store may have kept anything."""
    assert client_name("a\x1b[2Jb\x07/1") == "a\ufffd[2Jb\ufffd/1"


def test_a_client_of_any_length_takes_no_time() -> None:
    assert len(client_name("Mozilla/5.0 (" + "Version/" * 100_000)) < 80
    assert len(client_name("\x1b" * 100_000)) < 80


ROWS = [("first", "-", "a word or two"), ("second", "", "-")]


def test_a_table_that_fits_leaves_out_empty_columns() -> None:
    assert [*table(("id", "none", "text"), ROWS, 22)] == [
        "id      text",
        "first   a word or two",
        "second  -",
    ]


def test_a_table_that_does_not_fit_becomes_a_list() -> None:
    assert [*table(("id", "none", "text"), ROWS, 20)] == [
        "first",
        "  text  a word or",
        "        two",
        "second",
    ]


def test_a_long_name_has_a_line_of_its_own() -> None:
    rows = [("a", "one two"), ("a_name_of_many_words", "three")]
    assert [*pairs(rows, 24)] == [
        "a             one two",
        "a_name_of_many_words",
        "              three",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("abc", 3), ("日本", 4), ("ﾆｯﾎﾟﾝ", 5), ("e\u0301", 1), ("é", 1), ("😀", 2), ("한", 2)],
)
def test_the_columns_of_a_text(text: str, expected: int) -> None:
    assert columns(text) == expected


#: Of as many columns as characters, of twice as many, and of fewer.
SCRIPTS = ["a", "日", "e\u0301", "a日"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_line_is_wider_than_the_terminal_in_any_script(script: str) -> None:
    long, words = script * 50, " ".join([script * 5] * 20)
    rows = [(script * 8, long), ("b", words), (script * 30, "c"), ("d", "")]
    for width in (40, 41, 80):
        lines = [*pairs(rows, width, indent=2)]
        assert max(map(columns, lines)) <= width
        # Nothing is lost.
        shown = "".join("".join(lines).split())
        for text in (long, words, script * 30):
            assert text.replace(" ", "") in shown


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_texts_start_in_one_column_in_any_script(script: str) -> None:
    rows = [(script * 4, "x"), ("b", "x"), (script * 2, "x"), (script * 20, "x")]
    starts = {columns(line[:-1]) for line in pairs(rows, 40) if line.endswith("x")}
    assert len(starts) == 1


def test_the_columns_of_a_table_are_straight_in_any_script() -> None:
    rows = [("日本", "x"), ("abc", "y")]
    lines = [*table(("id", "text"), rows, 40)]
    assert lines == ["id    text", "日本  x", "abc   y"]
    # By characters it would fit: 10 columns, and 12 are needed.
    assert [*table(("id", "text"), [("日本", "日本語")], 10)] == [
        "日本",
        "  text  日",
        "        本",
        "        語",
    ]


def test_a_text_of_any_length_takes_no_time() -> None:
    for text in ("x" * 200_000, "日" * 100_000, "日 " * 100_000, " " * 200_000):
        assert sum(columns(line.strip()) for line in pairs([("a", text)], 80)) >= columns(
            text.replace(" ", "")
        )


def test_a_time_that_no_calendar_has_is_a_number() -> None:
    assert utc(0) == "1970-01-01 00:00Z"
    assert utc(10**30) == str(10**30)
    assert utc(-(10**30)) == str(-(10**30))
