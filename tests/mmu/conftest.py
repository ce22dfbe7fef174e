"""A small memory with a bump allocator of tables."""

from __future__ import annotations

import numpy as np
import pytest

from unikiln.mmu import PageTable, TableMemory

FRAMES = 512


@pytest.fixture
def table() -> PageTable:
    memory = TableMemory(np.zeros(FRAMES * 512, dtype=np.uint64))
    free = iter(range(4096, FRAMES * 4096, 4096))
    return PageTable(memory, lambda: next(free))
