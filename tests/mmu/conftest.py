"""A small memory with a bump allocator of tables, for any granule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from unikiln.mmu import Layout, PageTable, TableMemory
from unikiln.mmu.aarch64.layout import KERNEL_48, USER_48

MEMORY = 2 << 20


def make_table(*layouts: Layout, size: int = MEMORY) -> PageTable:
    """Empty tables in ``size`` bytes of memory; frame 0 stays unused."""
    memory = TableMemory(np.zeros(size // 8, dtype=np.uint64))
    page = max(layout.page_size for layout in layouts)
    free = iter(range(page, size, page))
    return PageTable(memory, lambda: next(free), layouts)


@pytest.fixture
def table() -> PageTable:
    return make_table(USER_48, KERNEL_48)


@pytest.fixture
def new_table() -> Callable[..., PageTable]:
    return make_table
