from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from flask_authx.stores.base import StoreBusyError, StoreError, UncommittedWritesError
from flask_authx.stores.circuit_breaker import CircuitBreaker
from tests.support import Clock


class Store:
    """Returns a result, or fails with what it is given, and counts how often it is asked."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.asked = 0

    def __call__(self, value: str = "result") -> str:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return value


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("the store", clock)


def failing(store: Store, error: BaseException) -> Callable[[], str]:
    store.error = error
    return store


def test_a_result_is_passed_on_with_its_arguments(breaker: CircuitBreaker, store: Store) -> None:
    assert breaker.call(store, "yes") == "yes"


@pytest.mark.parametrize("error", [OSError("lost"), StoreError("lost"), KeyError("k")])
def test_after_a_failure_the_store_is_not_asked_for_a_second(
    breaker: CircuitBreaker, store: Store, clock: Clock, error: Exception
) -> None:
    with pytest.raises(StoreError):
        breaker.call(failing(store, error))
    store.error = None
    for _ in range(3):
        clock.advance(0.33)
        with pytest.raises(StoreError):
            breaker.call(store)
    assert store.asked == 1
    clock.advance(0.02)
    assert breaker.call(store) == "result"
    assert breaker.call(store) == "result"


def test_each_failure_starts_another_second(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    store.error = OSError()
    for turn in range(1, 4):
        with pytest.raises(StoreError):
            breaker.call(store)
        with pytest.raises(StoreError):
            breaker.call(store)
        assert store.asked == turn
        clock.advance(1)


def test_the_second_begins_when_the_call_has_failed(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    def slow() -> None:
        clock.advance(5)
        raise OSError

    with pytest.raises(StoreError):
        breaker.call(slow)
    clock.advance(0.9)
    with pytest.raises(StoreError):
        breaker.call(store)
    assert store.asked == 0


def test_only_one_tries_again_while_the_others_are_refused(
    breaker: CircuitBreaker, store: Store, clock: Clock
) -> None:
    with pytest.raises(StoreError):
        breaker.call(failing(store, OSError()))
    clock.advance(1)
    store.error = None

    def try_again() -> str:
        with pytest.raises(StoreError):
            breaker.call(store)
        return "tried"

    assert breaker.call(try_again) == "tried"
    assert store.asked == 1


def test_a_busy_store_has_not_failed(breaker: CircuitBreaker, store: Store) -> None:
    for _ in range(2):
        with pytest.raises(StoreBusyError):
            breaker.call(failing(store, StoreBusyError("busy")))
    store.error = None
    assert breaker.call(store) == "result"
    assert store.asked == 3


def test_a_mistake_of_the_app_is_no_failure_of_the_store(
    breaker: CircuitBreaker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UncommittedWritesError):
        breaker.call(failing(store, UncommittedWritesError("commit first")))
    store.error = None
    assert breaker.call(store) == "result"
    assert not caplog.records


def test_an_interrupt_passes_and_is_no_failure(breaker: CircuitBreaker, store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        breaker.call(failing(store, KeyboardInterrupt()))
    store.error = None
    assert breaker.call(store) == "result"


def test_the_drivers_error_is_not_chained(breaker: CircuitBreaker, store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        breaker.call(failing(store, OSError("parameters: the-token")))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "the-token" not in str(caught.value)


@pytest.mark.parametrize("error", [OSError("gone\nadvice"), StoreBusyError("busy\nadvice")])
def test_a_line_a_second_says_what_happened(
    breaker: CircuitBreaker,
    store: Store,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    for _ in range(31):
        with pytest.raises(StoreError):
            breaker.call(failing(store, error))
        clock.advance(0.125)
    lines = [one.getMessage() for one in caplog.records]
    what = str(error).partition("\n")[0]
    assert lines == [f"the store failed: {type(error).__name__}: {what}"] * 4
    assert {one.levelno for one in caplog.records} == {logging.ERROR}


def test_an_error_without_words_is_logged_by_its_name(
    breaker: CircuitBreaker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreError):
        breaker.call(failing(store, ConnectionResetError()))
    assert "ConnectionResetError" in caplog.text


def test_recovery_is_logged_once(
    breaker: CircuitBreaker, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreError):
        breaker.call(failing(store, OSError()))
    clock.advance(1)
    store.error = None
    caplog.clear()
    for _ in range(3):
        breaker.call(store)
    assert [one.getMessage() for one in caplog.records] == ["the store is available again"]
