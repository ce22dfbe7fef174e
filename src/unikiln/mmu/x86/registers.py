"""CR0, CR3, CR4, EFER and PAT: the bits that paging reads (Intel SDM vol. 3, 2.5, 4.1 and 11.12)."""

from __future__ import annotations

CR0_PE = 1 << 0
CR0_WP = 1 << 16
CR0_PG = 1 << 31

CR3_PWT = 1 << 3
CR3_PCD = 1 << 4
CR3_PCID = 0xFFF
"""With CR4.PCIDE; PWT and PCD stand there without."""

CR4_PAE = 1 << 5
CR4_PGE = 1 << 7
CR4_LA57 = 1 << 12
CR4_PCIDE = 1 << 17
CR4_SMEP = 1 << 20
CR4_SMAP = 1 << 21
CR4_PKE = 1 << 22
CR4_PKS = 1 << 24

EFER_LME = 1 << 8
EFER_LMA = 1 << 10
EFER_NXE = 1 << 11

KEY_ACCESS_DISABLE = 1
KEY_WRITE_DISABLE = 2
"""PKRU and IA32_PKRS have these two bits for each of 16 keys, key 0 lowest."""

PAT_DEFAULT = 0x0007_0406_0007_0406
"""IA32_PAT after reset: WB, WT, UC-, UC, and the same again (table 11-12)."""

_MEMORY_TYPES = {0: "UC", 1: "WC", 4: "WT", 5: "WP", 6: "WB", 7: "UC-"}


def memory_type(pat: int, index: int) -> str:
    """What entry ``index`` (0 to 7) of IA32_PAT names; the MTRRs may still restrict it (11.5.2.2)."""
    return _MEMORY_TYPES.get(pat >> 8 * index & 7, "reserved")
