"""A model of AArch64 address translation: tables, walks, faults, syndromes, the access flag.

VMSAv8-64, stage 1 of the EL1&0 regime, 4 KiB granule, four levels. Names are those of the Arm
Architecture Reference Manual (DDI 0487), chapters D5 (address translation) and D13 (registers).
Nothing here executes an instruction or knows a file system.
"""

from unikiln.mmu.aarch64.descriptor import Descriptor
from unikiln.mmu.aarch64.fault import Access, Fault, FaultKind
from unikiln.mmu.aarch64.syndrome import Syndrome
from unikiln.mmu.aarch64.walk import Translation, walk
from unikiln.mmu.access import set_accessed, test_and_clear_accessed
from unikiln.mmu.memory import TableMemory
from unikiln.mmu.table import PageTable

__all__ = [
    "Access",
    "Descriptor",
    "Fault",
    "FaultKind",
    "PageTable",
    "Syndrome",
    "TableMemory",
    "Translation",
    "set_accessed",
    "test_and_clear_accessed",
    "walk",
]
