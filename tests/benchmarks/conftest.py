"""What the benchmarks' tests are given."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """Each timing collects garbage first; it need not go through all that pytest has loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
