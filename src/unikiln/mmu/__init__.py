"""A model of address translation: tables, walks, faults, syndromes, TLB, access and dirty state.

:mod:`unikiln.mmu.aarch64` is VMSAv8-64, stage 1 of the EL1&0 regime; :mod:`unikiln.mmu.x86` is x86-64. What
works on tables of either is in this package itself and goes by a :class:`~unikiln.mmu.layout.Layout`.
Names are those of the Arm Architecture Reference Manual (DDI 0487) and of the Intel SDM. Nothing here
executes an instruction or knows a file system.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unikiln.mmu.access import clear_accessed, set_accessed
    from unikiln.mmu.bulk import test_and_clear_accessed, test_and_clear_dirty, walk_many
    from unikiln.mmu.layout import Layout
    from unikiln.mmu.memory import Memory, TableMemory
    from unikiln.mmu.request import Access, Request
    from unikiln.mmu.runs import Run, mappings
    from unikiln.mmu.table import PageTable
    from unikiln.mmu.translation import Attributes, Translation, Visited

__all__ = [
    "Access",
    "Attributes",
    "Layout",
    "Memory",
    "PageTable",
    "Request",
    "Run",
    "TableMemory",
    "Translation",
    "Visited",
    "clear_accessed",
    "mappings",
    "set_accessed",
    "test_and_clear_accessed",
    "test_and_clear_dirty",
    "walk_many",
]

_MODULES = {
    "Access": "request",
    "Attributes": "translation",
    "Layout": "layout",
    "Memory": "memory",
    "PageTable": "table",
    "Request": "request",
    "Run": "runs",
    "TableMemory": "memory",
    "Translation": "translation",
    "Visited": "translation",
    "clear_accessed": "access",
    "mappings": "runs",
    "set_accessed": "access",
    "test_and_clear_accessed": "bulk",
    "test_and_clear_dirty": "bulk",
    "walk_many": "bulk",
}


def __getattr__(name: str) -> object:
    """Load a name's module when it is first used: who only decodes a syndrome waits for no NumPy."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
