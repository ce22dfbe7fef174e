"""Unicorn's TLB: invalidated whole, and kept from shrinking.

At an invalidation QEMU fits the size of its direct-mapped TLB to how much of it was used in the last
100 ms, down to 64 entries; programs with a small working set then have hot pages that evict each other,
and every such access takes a slow path (md5sum: five times slower). So now and then, right before an
invalidation, enough entries are used for translations that nobody asks for. They do not survive it.
"""

from __future__ import annotations

import ctypes
import time

from unicorn import unicorn_const as uc

from unikiln.engine import native

ENTRIES = 1024
USED = ENTRIES * 4 // 10
"""More than the 30 % below which the TLB shrinks, less than the 70 % above which it grows."""
PERIOD = 0.03
"""Seconds; well below QEMU's window of 0.1."""
FILLER = 0xFFFF_8000_0000_0000
"""First of the addresses that use up entries; no program has memory there."""

_FLUSH = uc.UC_CTL_TLB_FLUSH | uc.UC_CTL_IO_WRITE << 30


class Tlb:
    """The TLB of the engine at ``handle``; ``filling`` tells the fill hook to let :data:`FILLER` pass."""

    def __init__(self, handle: int) -> None:
        self._handle = ctypes.c_void_p(handle)
        self._next = 0.0
        self._pa = ctypes.c_uint64()
        self.filling = False

    def invalidate(self) -> None:
        """Drop every translation."""
        native.library().uc_ctl(self._handle, _FLUSH)

    def invalidate_between_blocks(self) -> None:
        """The same while the guest is stopped, where the size can be kept up too."""
        if time.monotonic() >= self._next:
            self._use_entries()
            self._next = time.monotonic() + PERIOD
        self.invalidate()

    def _use_entries(self) -> None:
        translate, where = native.library().uc_vmem_translate, ctypes.byref(self._pa)
        read = ctypes.c_uint32(uc.UC_PROT_READ)
        self.filling = True
        for page in range(FILLER, FILLER + (USED << 12), 1 << 12):
            translate(self._handle, ctypes.c_uint64(page), read, where)
        self.filling = False
