"""When a store is no longer called, when it is called again, and what an operator is told."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_authx.stores.base import StoreBusyError, StoreError, UncommittedWritesError
from flask_authx.stores.circuit_breaker import CircuitBreaker, ProtectedStore
from tests.support import Clock
from tests.support.properties import fixed
from tests.support.waiting import later_by, until

DOWN = OSError("down")
#: What is raised by a call that says nothing about the store.
NEITHER = [StoreBusyError("busy"), UncommittedWritesError("commit first"), KeyboardInterrupt()]


class Store:
    """Returns a result, or fails with what it is given, and counts how often it is called."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.called = 0

    def __call__(self, value: str = "result") -> str:
        self.called += 1
        if self.error is not None:
            raise self.error
        return value


class Heard:
    """Keeps what a circuit breaker says of the store."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def store_failed(self, store: str, operation: str, error_class: str) -> None:
        self.said.append(("failed", store, operation, error_class))

    def store_recovered(self, store: str, operation: str, seconds: float) -> None:
        self.said.append(("recovered", store, operation, seconds))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def breaker(clock: Clock, heard: Heard) -> CircuitBreaker:
    return CircuitBreaker("the store", clock, store="cups", operation="write", observer=heard)


def call(breaker: CircuitBreaker, store: Store, *errors: BaseException | None) -> None:
    """Call the store once for each error, which it then raises, or not."""
    for store.error in errors:
        if store.error is None:
            assert breaker.call(store) == "result"
        else:
            with pytest.raises((StoreError, type(store.error))):
                breaker.call(store)
    store.error = None


def is_open(breaker: CircuitBreaker, store: Store) -> bool:
    """Whether the store is not called now. It counts as a success if it is."""
    store.error, called = None, store.called
    try:
        breaker.call(store)
    except StoreError:
        assert store.called == called
        return True
    return False


def opened(breaker: CircuitBreaker, store: Store) -> None:
    call(breaker, store, *[DOWN] * 5)


# Opening


def test_a_result_is_passed_on_with_its_arguments(breaker: CircuitBreaker, store: Store) -> None:
    assert breaker.call(store, "yes") == "yes"


@pytest.mark.parametrize("error", [DOWN, StoreError("down"), KeyError("k"), MemoryError()])
def test_five_failures_in_a_row_open_the_circuit(
    breaker: CircuitBreaker, store: Store, clock: Clock, error: Exception
) -> None:
    for _ in range(5):
        # However long it takes until the next call.
        clock.advance(100)
        assert not is_open(breaker, store)
        call(breaker, store, error, error, error, error)
    call(breaker, store, error)
    assert is_open(breaker, store)


@pytest.mark.parametrize("neither", NEITHER, ids=repr)
def test_a_call_that_says_nothing_of_the_store_is_not_counted(
    breaker: CircuitBreaker, store: Store, neither: BaseException
) -> None:
    call(breaker, store, *[neither] * 100)
    assert not is_open(breaker, store)
    call(breaker, store, DOWN, DOWN, *[neither] * 100, DOWN, DOWN)
    assert not is_open(breaker, store)
    call(breaker, store, DOWN, DOWN, *[neither] * 100, DOWN, DOWN, neither, DOWN)
    assert is_open(breaker, store)


def test_half_of_twenty_calls_within_ten_seconds_open_the_circuit(
    breaker: CircuitBreaker, store: Store, clock: Clock, heard: Heard
) -> None:
    call(breaker, store, None)
    for _ in range(9):
        clock.advance(1)
        call(breaker, store, None, DOWN)
    clock.advance(1)
    assert heard.said == []
    call(breaker, store, DOWN)
    assert is_open(breaker, store)


def test_less_than_half_do_not(breaker: CircuitBreaker, store: Store, clock: Clock) -> None:
    for _ in range(50):
        call(breaker, store, None, *[DOWN, None] * 9)
        clock.advance(1)
    assert not is_open(breaker, store)


def test_nor_do_less_than_twenty(
    breaker: CircuitBreaker, store: Store, clock: Clock, heard: Heard
) -> None:
    for _ in range(50):
        call(breaker, store, *[None, DOWN, DOWN, DOWN, DOWN] * 3, None, DOWN, DOWN, DOWN)
        clock.advance(11)
    assert heard.said == []


def test_what_was_ten_seconds_ago_does_not_count(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    call(breaker, store, *[None] * 1000)
    clock.advance(11)
    call(breaker, store, *[None, DOWN] * 9)
    assert not is_open(breaker, store)
    call(breaker, store, DOWN)
    assert is_open(breaker, store)


class Model:
    """What the circuit breaker is to do, from a list of all calls, by whole seconds."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, bool]] = []
        self.row = 0
        self.retry_at: float | None = None

    def calls_the_store(self, now: float, result: BaseException | None) -> bool:
        if self.retry_at is not None:
            if now < self.retry_at:
                return False
            self.retry_at = now + 1
            if result is None:
                self.calls, self.row, self.retry_at = [], 0, None
            return True
        if isinstance(result, StoreBusyError):
            return True
        self.calls.append((now, result is None))
        self.row = 0 if result is None else self.row + 1
        recent = [succeeded for at, succeeded in self.calls if at >= now - 10]
        half = len(recent) >= 20 and 2 * sum(recent) <= len(recent)
        if result is not None and (self.row >= 5 or half):
            self.retry_at = now + 1
        return True


RESULTS = st.sampled_from([None, None, DOWN, StoreBusyError("busy")])
STEPS = st.lists(st.tuples(st.sampled_from([0] * 8 + [1, 2, 11]), RESULTS), max_size=100)


@fixed
@given(STEPS)
def test_it_does_what_a_list_of_all_calls_says(steps: list[tuple[int, Exception | None]]) -> None:
    clock, store, model = Clock(0.0), Store(), Model()
    breaker = CircuitBreaker("the store", clock)
    for seconds, store.error in steps:
        clock.advance(seconds)
        expected, called = model.calls_the_store(clock.now, store.error), store.called
        with contextlib.suppress(StoreError):
            breaker.call(store)
        assert store.called == called + expected


# Open


def test_an_open_circuit_lets_one_call_a_second_through(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    opened(breaker, store)
    for turn in range(1, 10):
        clock.advance(0.5)
        call(breaker, store, DOWN, DOWN)
        assert store.called == 5 + turn // 2


def test_the_second_begins_when_the_call_has_failed(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    def slow() -> None:
        clock.advance(5)
        raise DOWN

    for _ in range(6):
        with pytest.raises(StoreError):
            breaker.call(slow)
        clock.advance(1)
    clock.advance(-0.1)
    assert is_open(breaker, store)


def test_a_success_closes_it_and_what_was_before_no_longer_counts(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    call(breaker, store, *[None, DOWN] * 10)
    assert is_open(breaker, store)
    clock.advance(1)
    call(breaker, store, None, *[DOWN] * 4, None, *[DOWN] * 4)
    assert not is_open(breaker, store)


@pytest.mark.parametrize("neither", NEITHER, ids=repr)
def test_a_retry_that_says_nothing_of_the_store_leaves_it_open_for_a_second(
    breaker: CircuitBreaker, store: Store, clock: Clock, neither: BaseException
) -> None:
    opened(breaker, store)
    clock.advance(1)
    call(breaker, store, neither)
    assert store.called == 6
    assert is_open(breaker, store)
    clock.advance(1)
    call(breaker, store, None, None)


def test_only_one_tries_again_while_the_others_are_refused(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    opened(breaker, store)
    clock.advance(1)

    def try_again() -> str:
        assert is_open(breaker, store)
        return "tried"

    assert breaker.call(try_again) == "tried"
    assert not is_open(breaker, store)


def test_who_began_before_it_opened_does_not_close_it(
    breaker: CircuitBreaker, store: Store
) -> None:
    assert breaker.call(lambda: opened(breaker, store)) is None
    assert is_open(breaker, store)


def test_a_clock_that_starts_at_nothing_and_stands_still(store: Store) -> None:
    breaker = CircuitBreaker("the store", lambda: 0.0)
    opened(breaker, store)
    assert is_open(breaker, store)


def test_it_hears_nothing_of_a_clock_that_an_app_s_tests_set(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tools that stop the time replace that of the process, and a store would never be back."""
    monkeypatch.setattr(CircuitBreaker, "PAUSE", 0.02)
    breaker = CircuitBreaker("the store")
    with later_by(monkeypatch, 1e6):
        opened(breaker, store)
    until(lambda: not is_open(breaker, store), what="a retry")


# What is said


def test_the_drivers_error_is_not_chained(breaker: CircuitBreaker, store: Store) -> None:
    store.error = OSError("parameters: the-token")
    with pytest.raises(StoreError) as caught:
        breaker.call(store)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert str(caught.value) == "the store failed to write"


def test_an_error_of_the_package_s_own_says_more(breaker: CircuitBreaker, store: Store) -> None:
    store.error = StoreError("there is no table")
    with pytest.raises(StoreError, match=r"^the store failed to write: there is no table$"):
        breaker.call(store)


@pytest.mark.parametrize(
    ("error", "level", "what"),
    [
        (OSError("lost\nadvice"), logging.ERROR, "failed to write: OSError: lost"),
        (ConnectionResetError(), logging.ERROR, "failed to write: ConnectionResetError: "),
        (StoreBusyError("in use"), logging.WARNING, "is busy: StoreBusyError: in use"),
    ],
    ids=repr,
)
def test_a_line_a_second_says_what_happened(
    caplog: pytest.LogCaptureFixture, error: Exception, level: int, what: str
) -> None:
    clock = Clock()
    breaker = CircuitBreaker("the store", clock, store="cups", operation="write")

    def slow() -> None:
        clock.advance(0.25)
        raise error

    for _ in range(4):
        for _ in range(4):
            with pytest.raises(StoreError):
                breaker.call(slow)
            # Less than half of the calls: the circuit stays closed.
            assert [breaker.call(str), breaker.call(str)] == ["", ""]
    fields = ("cups", "write", 0.25, type(error).__name__)
    assert [(one.getMessage(), one.levelno, *fields_of(one)) for one in caplog.records] == [
        (f"the store {what}", level, *fields)
    ] * 4


def fields_of(record: Any) -> tuple[object, ...]:
    return (record.store, record.operation, record.seconds, record.error_class)


def connected(module: str, string: str) -> None:
    """Connect as an app's own creator does, with a string in which the password is not escaped."""
    driver: Any = importlib.import_module(module)
    driver.connect(string)


@pytest.mark.parametrize("module", ["psycopg", "psycopg2"])
@pytest.mark.parametrize(
    "string",
    [
        "host=127.0.0.1 port=1 password=cor secret",
        "postgresql://ann:secret%zz@127.0.0.1:1/db",
        "postgresql://ann:cor@secret@127.0.0.1:1/db",
    ],
)
def test_a_password_that_is_not_escaped_is_not_logged(
    breaker: CircuitBreaker, module: str, string: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreError) as caught:
        breaker.call(connected, module, string)
    [line] = caplog.records
    assert len(line.getMessage().removeprefix("the store failed to write: ")) > 20
    assert "secret" not in repr(vars(line)) + str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        'connection to server at "127.0.0.1", port 1 failed: Connection refused',
        """(1045, "Access denied for user 'ann'@'localhost' (using password: YES)")""",
        "Error 111 connecting to 127.0.0.1:1. Connection refused.",
    ],
)
def test_what_failed_is_logged_as_the_driver_says_it(
    breaker: CircuitBreaker, store: Store, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    call(breaker, store, OSError(message))
    assert caplog.messages == [f"the store failed to write: OSError: {message}"]


def test_that_it_is_busy_hides_no_failure(
    breaker: CircuitBreaker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    call(breaker, store, StoreBusyError("busy"), DOWN)
    assert [one.levelno for one in caplog.records] == [logging.WARNING, logging.ERROR]


def test_a_mistake_of_the_app_is_not_logged(
    breaker: CircuitBreaker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    call(breaker, store, UncommittedWritesError("commit first"))
    assert not caplog.records


def test_one_failure_is_no_outage(breaker: CircuitBreaker, store: Store, heard: Heard) -> None:
    call(breaker, store, *[DOWN] * 4, None, None)
    assert heard.said == []


def test_an_outage_is_said_once_when_it_begins_and_once_when_it_ends(
    breaker: CircuitBreaker,
    store: Store,
    heard: Heard,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for seconds in (7.5, 3.0):
        opened(breaker, store)
        began = clock.now
        while clock.now < began + seconds:
            assert heard.said == [("failed", "cups", "write", "OSError")]
            call(breaker, store, DOWN, DOWN)
            clock.advance(1.5)
        caplog.clear()
        call(breaker, store, None, None)
        assert heard.said.pop() == ("recovered", "cups", "write", seconds)
        [line] = caplog.records
        assert line.getMessage() == "the store is available again"
        assert vars(line)["seconds"] == seconds
        heard.said.clear()


@pytest.fixture
def hurried_threads() -> Generator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hurried_threads")
def test_threads_that_fail_and_succeed_together_open_and_close_it_once(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = 8
    together = threading.Barrier(threads)
    # All of them try again.
    monkeypatch.setattr(CircuitBreaker, "PAUSE", 0.0)

    def work(error: Exception | None) -> None:
        together.wait()
        if error is not None:
            raise error

    with ThreadPoolExecutor(threads) as pool:
        for turn in range(1, 100):
            breaker = CircuitBreaker("the store", observer=heard)
            for error in (DOWN, None):
                calls = [pool.submit(breaker.call, work, error) for _ in range(threads)]
                assert {type(one.exception()) for one in calls} == {
                    type(None) if error is None else StoreError
                }
            assert [what for what, *_ in heard.said] == ["failed", "recovered"] * turn


# Whether it works


def test_a_success_is_known_for_a_second(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    assert not breaker.succeeded_lately()
    for _ in range(5):
        call(breaker, store, None)
        assert breaker.succeeded_lately()
        clock.advance(1.5)
        assert not breaker.succeeded_lately()


def test_of_calls_that_never_stop_one_is_known(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    for _ in range(99):
        call(breaker, store, None)
        assert breaker.succeeded_lately()
        clock.advance(0.25)


@pytest.mark.parametrize("neither", [DOWN, *NEITHER], ids=repr)
def test_what_is_no_success_is_not_known_as_one(
    breaker: CircuitBreaker, store: Store, clock: Clock, neither: BaseException
) -> None:
    call(breaker, store, None)
    clock.advance(1.5)
    call(breaker, store, neither)
    assert not breaker.succeeded_lately()
    call(breaker, store, None)
    assert breaker.succeeded_lately()
    opened(breaker, store)
    assert not breaker.succeeded_lately()


# A store


def test_a_store_that_takes_no_writes_is_still_read(heard: Heard) -> None:
    protected, store = ProtectedStore("cups", heard), Store()
    store.error = DOWN
    for _ in range(6):
        with pytest.raises(StoreError, match=r"^the store of cups failed to write"):
            protected.write(store)
    store.error = None
    assert protected.read(store) == protected.inspect(store) == protected.prune(store) == "result"
    assert heard.said == [("failed", "cups", "write", "OSError")]


def test_a_store_that_is_read_is_not_asked_whether_it_can_be() -> None:
    protected, store, asked = ProtectedStore("cups"), Store(), Store()
    protected.write(store)
    protected.check(asked)
    assert asked.called == 1
    protected.check(asked)
    assert asked.called == 1
    asked.error = DOWN
    for _ in range(5):
        with pytest.raises(StoreError):
            protected.read(asked)
    with pytest.raises(StoreError):
        protected.check(asked)
