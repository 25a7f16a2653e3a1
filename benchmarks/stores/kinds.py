"""The kinds of stores: each opened at several sizes, ours beside the peer's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, ClassVar, TypeAlias

from benchmarks.acceptance import Contender
from benchmarks.keys import KeyPair
from flask_authx import Blocklist

from .mix import Mix

#: The names of contenders begin with one of these.
OURS, THEIRS = "ours", "Flask-JWT-Extended"
#: What our look-up is compared with.
LOOKUP, FLOOR = "look-up by our store", "look-up by the driver alone"

Look: TypeAlias = Callable[[Sequence[bytes]], object]


@dataclass
class Bench:
    """What all kinds share in a run.

    :param stack: ends everything that a kind starts.
    :param folder: is removed at the end.
    """

    stack: ExitStack
    folder: Path
    keys: KeyPair
    mixes: Sequence[Mix]
    random: Random = field(default_factory=lambda: Random(0))

    @property
    def sizes(self) -> list[int]:
        """The numbers of entries, the largest last."""
        return [len(one.entries) for one in self.mixes]


def named(who: str, store: str, size: int) -> str:
    """What a contender is called."""
    return f"{who}, {store}, {size}"


class Kind(ABC):
    """A kind of store.

    :raises AbsentError: if what it needs isn't there.
    """

    name: ClassVar[str]
    #: Whose contenders are timed together with these.
    group: ClassVar[str]
    #: At the most this share of the peer's overhead, at the largest size.
    bar: ClassVar[float | None] = None
    #: At the most so many bytes an entry.
    bytes_bar: ClassVar[int | None] = None
    #: Whether the store removes what has expired by itself.
    prunes_itself: ClassVar[bool] = False

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @abstractmethod
    def version(self) -> str:
        """What runs the store."""

    @abstractmethod
    def contenders(self) -> Iterator[Contender]:
        """Ours and the peer's at each size, filled; and what the floor takes, if there is one."""

    @abstractmethod
    def store(self) -> Blocklist:
        """A store object of ours on the largest."""

    def weights(self) -> Mapping[str, float]:
        """Bytes an entry at the largest size, by whose."""
        return {}

    def aged(self, store: Blocklist) -> Blocklist:
        """The store object when half of the entries that were put in have expired."""
        return store


class Lookup:
    """One look-up of four keys, as many as a request asks about, that nobody has revoked.

    :param known: a key that somebody has.
    """

    token_length = 0

    def __init__(self, name: str, look: Look, known: bytes, random: Random) -> None:
        self.name = name
        self._look = look
        self._known = known
        self._unknown = [tuple(random.randbytes(16) for _ in range(4)) for _ in range(64)]
        self._turns = cycle(self._unknown)

    def around(self) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()

    def call(self) -> object:
        """Look up the next three."""
        return self._look(next(self._turns))

    def faults(self) -> Iterator[str]:
        """That it sees no difference between what is revoked and what isn't."""
        *others, _ = self._unknown[0]
        if self._look([*others, self._known]) == self._look(self._unknown[0]):
            yield "it doesn't find what is there"


def lookups(kind: Kind, floor: Look) -> Iterator[Lookup]:
    """A look-up by the store object, and what it is compared with."""
    store = kind.store()
    known, random = kind.bench.mixes[-1].entries[0].key, kind.bench.random
    yield Lookup(f"{LOOKUP}, {kind.name}", store.find, known, random)
    yield Lookup(f"{FLOOR}, {kind.name}", floor, known, random)


def untyped(value: object) -> Any:
    """The value, where a package declares too little of it."""
    return value
