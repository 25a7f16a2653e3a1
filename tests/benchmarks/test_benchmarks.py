"""The benchmark's harness: who may start, how ratios are made, and that it runs. No timing here."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from benchmarks import contenders as names
from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.acceptance import Credentials, Endpoint, Minting, tampered
from benchmarks.contenders import contenders
from benchmarks.harness import Plan, UnfitContenderError, measure, run, vet
from benchmarks.keys import ALGORITHMS, KeyPair, generate
from benchmarks.report import ROWS, Row, Spread

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Judge = Callable[["WSGIEnvironment"], str]
OK, REFUSED, BROKEN = "200 OK", "401 UNAUTHORIZED", "500 INTERNAL SERVER ERROR"


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate("HS256")


@pytest.fixture(scope="module")
def credentials(keys: KeyPair) -> Credentials:
    now = int(time.time())
    valid, expired = (
        jwt.encode({"sub": "ann", "exp": exp}, keys.signing, keys.algorithm)
        for exp in (now + 3600, now - 3600)
    )
    return Credentials(valid, expired)


def app_that(judge: Judge) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
        status = judge(environ)
        start(status, [])
        return [b"ok" if status == OK else b""]

    return app


def strict(keys: KeyPair, *, leeway: int = 0, verify: bool = True) -> Judge:
    def judge(environ: WSGIEnvironment) -> str:
        token = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        token = token or environ.get("HTTP_COOKIE", "").partition("=")[2]
        options: Any = {"verify_signature": verify, "verify_exp": True}
        try:
            jwt.decode(token, keys.verifying, [keys.algorithm], options=options, leeway=leeway)
        except jwt.InvalidTokenError:
            return REFUSED
        return OK

    return judge


def faults_of(judge: Judge, credentials: Credentials, *, guarded: bool = True) -> str:
    endpoint = Endpoint("fake", app_that(judge), credentials, guarded=guarded)
    return "\n".join(endpoint.faults())


class TestAcceptance:
    def test_a_guard_that_does_its_work_has_no_faults(
        self, keys: KeyPair, credentials: Credentials
    ) -> None:
        assert faults_of(strict(keys), credentials) == ""

    def test_a_guard_that_accepts_all_is_named_with_all_it_accepts(
        self, credentials: Credentials
    ) -> None:
        found = faults_of(lambda environ: OK, credentials)
        assert found.splitlines() == [
            "it accepts no token",
            "it accepts a token with a wrong signature",
            "it accepts an expired token",
        ]

    def test_a_guard_that_does_not_verify_signatures_is_unfit(
        self, keys: KeyPair, credentials: Credentials
    ) -> None:
        found = faults_of(strict(keys, verify=False), credentials)
        assert found == "it accepts a token with a wrong signature"

    def test_a_guard_that_ignores_expiry_is_unfit(
        self, keys: KeyPair, credentials: Credentials
    ) -> None:
        assert faults_of(strict(keys, leeway=7200), credentials) == "it accepts an expired token"

    def test_a_guard_that_refuses_the_valid_token_is_unfit(self, credentials: Credentials) -> None:
        found = faults_of(lambda environ: REFUSED, credentials)
        assert found == f"it refuses a good token ({REFUSED})"

    def test_a_server_error_is_no_refusal(self, keys: KeyPair, credentials: Credentials) -> None:
        judge = strict(keys)
        found = faults_of(lambda e: BROKEN if judge(e) == REFUSED else OK, credentials)
        assert found.splitlines()[0] == f"it fails at no token ({BROKEN})"
        assert len(found.splitlines()) == 3

    def test_a_cookie_guard_must_ask_for_the_csrf_value(
        self, keys: KeyPair, credentials: Credentials
    ) -> None:
        cookie = Credentials(credentials.good, credentials.expired, "token", "secret")
        judge = strict(keys)
        assert faults_of(judge, cookie).splitlines() == [
            "it accepts a cookie without its CSRF value",
            "it accepts a cookie with a wrong CSRF value",
        ]

        def careful(environ: WSGIEnvironment) -> str:
            return judge(environ) if environ.get("HTTP_X_CSRF_TOKEN") == "secret" else REFUSED

        assert faults_of(careful, cookie) == ""

    def test_a_bare_route_may_accept_all_and_must_respond(self, credentials: Credentials) -> None:
        assert faults_of(lambda environ: OK, credentials, guarded=False) == ""
        assert faults_of(lambda environ: REFUSED, credentials, guarded=False) != ""

    def test_an_issued_token_must_be_valid_and_have_as_many_claims_as_the_others(
        self, keys: KeyPair
    ) -> None:
        other = generate("HS256")

        def issue(signer: KeyPair, claims: int) -> Minting:
            payload = {f"claim-{number}": number for number in range(claims)}
            return Minting("fake", keys, lambda: jwt.encode(payload, signer.signing, "HS256"))

        assert list(issue(keys, 10).faults()) == []
        assert list(issue(keys, 9).faults()) == ["its token has 9 claims instead of 10"]
        assert "not accepted" in "".join(issue(other, 10).faults())

    def test_tampering_flips_one_byte_of_the_signature_and_nothing_else(
        self, credentials: Credentials
    ) -> None:
        before, after = credentials.good.split("."), tampered(credentials.good).split(".")
        assert before[:2] == after[:2]
        one, two = (base64.urlsafe_b64decode(parts[2] + "==") for parts in (before, after))
        assert len(one) == len(two)
        assert sum(a != b for a, b in zip(one, two, strict=True)) == 1

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_every_contender_passes(self, algorithm: str) -> None:
        field = list(contenders(generate(algorithm)))
        vet(field)
        assert [one.name for one in field] == list(dict.fromkeys(one.name for one in field))
        assert {one.name for one in field} == {row.name for row in ROWS}


class Counted:
    """A contender that counts what is done with it."""

    token_length = 0

    def __init__(self, name: str, *faults: str) -> None:
        self.name = name
        self.calls = 0
        self._faults = faults

    def around(self) -> AbstractContextManager[object]:
        return nullcontext()

    def call(self) -> object:
        self.calls += 1
        return None

    def faults(self) -> Iterator[str]:
        yield from self._faults


class TestMeasuring:
    def test_one_unfit_contender_and_none_is_timed(self) -> None:
        fit, unfit = Counted("fit"), Counted("unfit", "it accepts no token", "it is rude")
        with pytest.raises(UnfitContenderError) as caught:
            next(measure([fit, unfit], rounds=1, calls=1))
        assert str(caught.value) == "unfit: it accepts no token\nunfit: it is rude"
        assert (fit.calls, unfit.calls) == (0, 0)

    @pytest.mark.slow
    def test_each_round_has_every_contender(self) -> None:
        field = [Counted("one"), Counted("two"), Counted("three")]
        rounds = list(measure(field, rounds=3, calls=5))
        assert [set(one) for one in rounds] == [{"one", "two", "three"}] * 3
        assert all(one.calls > 3 * 5 for one in field)
        assert all(taken >= 0 for one in rounds for taken in one.values())

    @pytest.mark.slow
    def test_a_process_that_breaks_off_is_an_error(self) -> None:
        with pytest.raises(RuntimeError, match="broke off"):
            run(Plan(("no such algorithm",), processes=1, rounds=1, calls=-1))


class TestArithmetic:
    GUARD = Row(names.SEEN, names.BARE, names.FJE, 0.05)

    @staticmethod
    def a_round(bare: float, peer: float, ours: float) -> dict[str, float]:
        return {names.BARE: bare, names.FJE: bare + peer, names.SEEN: bare + ours}

    def test_a_cost_is_what_comes_on_top_of_the_bare_route_of_the_same_round(self) -> None:
        rounds = [self.a_round(80, 200, 8), self.a_round(160, 400, 20)]
        assert [report.cost(self.GUARD, one) for one in rounds] == [8, 20]
        assert report.costs(self.GUARD, rounds).median == 14

    def test_a_ratio_is_taken_within_a_round_and_then_its_median_and_quartiles(self) -> None:
        rounds = [self.a_round(80, 100, share) for share in (1, 2, 3, 4, 5)]
        assert report.ratios(self.GUARD, rounds) == Spread(0.02, 0.03, 0.04)

    def test_a_machine_that_is_twice_as_slow_for_a_round_changes_no_ratio(self) -> None:
        rounds = [self.a_round(80, 200, 8), self.a_round(160, 400, 16)]
        ratio = report.ratios(self.GUARD, rounds)
        assert ratio == Spread(0.04, 0.04, 0.04)

    def test_issuing_is_compared_without_taking_a_route_off(self) -> None:
        row = Row(names.MINT, None, names.PYJWT_MINT, 1.5)
        ratio = report.ratios(row, [{names.MINT: 60.0, names.PYJWT_MINT: 40.0}])
        assert ratio == Spread(1.5, 1.5, 1.5)

    def test_a_round_in_which_the_reference_cost_nothing_has_no_ratio(self) -> None:
        rounds = [self.a_round(80, -5, 8), self.a_round(80, 0, 8), self.a_round(80, 100, 4)]
        assert report.ratios(self.GUARD, rounds) == Spread(0.04, 0.04, 0.04)
        nothing = report.ratios(self.GUARD, rounds[:2])
        assert nothing is not None
        assert report.verdict(self.GUARD, nothing).endswith("missed")

    @pytest.mark.parametrize(
        ("median", "expected"), [(0.04, "met"), (0.05, "met"), (0.051, "missed")]
    )
    def test_a_bar_is_met_up_to_and_with_its_value(self, median: float, expected: str) -> None:
        spread = Spread(0.0, median, 1.0)
        assert report.verdict(self.GUARD, spread) == f"<= 0.05 {expected}"

    def test_a_row_without_a_bar_has_no_verdict(self) -> None:
        row = Row(names.PYJWT, names.BARE, names.FJE)
        assert report.verdict(row, Spread(0.0, 0.5, 1.0)) == ""

    def test_the_bars_are_those_of_the_project(self) -> None:
        assert {row.name: (row.against, row.bar) for row in ROWS if row.bar is not None} == {
            names.SEEN: (names.FJE, 0.05),
            names.UNSEEN: (names.PYJWT, 1.35),
            names.COOKIE: (names.FJE_COOKIE, 0.15),
            names.MINT: (names.PYJWT_MINT, 1.5),
        }


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_heap")
def test_a_quick_run_prints_every_row_and_writes_its_rounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rounds.json"
    size = ["--processes", "1", "--rounds", "2", "--calls", "2"]
    assert main(["--quick", "--algorithms", "HS256", *size, "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for row in ROWS:
        [line] = [line for line in lines if line.startswith(f"{row.name}  ")]
        assert (row.bar is None) != (" met" in line or " missed" in line)
    assert "PyJWT " in lines[0]
    written = json.loads(file.read_text())
    assert set(written["algorithms"]) == {"HS256"}
    assert [set(one) for one in written["algorithms"]["HS256"]["rounds"]] == [
        {row.name for row in ROWS}
    ] * 2
