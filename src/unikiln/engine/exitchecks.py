"""Unicorn without a look for a stop after every load and store: half as fast again.

Unicorn 2.1 compiles a call of ``check_exit_request`` into every block, and one after every load and store,
around which all guest registers go through memory. We stop at blocks only, where it is safe (see
``blocks``), so the others are pure cost: busybox ``sha256sum`` of 50 MB takes 1.27 s with them and 0.84 s
without. Unicorn leaves them out while its flag ``no_exit_request`` is set, which its translator for
AArch32 does within IT blocks; the one for AArch64 never touches it (include/uc_priv.h, qemu/tcg/tcg-op.c).

The flag has no interface. It is set in Unicorn's own record, only in the release named here (earlier
ones tie the check at blocks to it as well, and would never stop), and only if the record shows what it
must: among four bytes in a row that are zero when an engine is new, the last, ``init_done``, becomes one
when it is initialised, at exactly one place. Otherwise nothing is touched, and programs run as well, only
slower.
"""

from __future__ import annotations

import ctypes

from unikiln.engine import native

RELEASES = {(2, 1, 4)}
_LOOKED_AT = 4096
"""Bytes of the record; it goes on for more than 12 KiB."""
_NEW, _INITIALISED = bytes(4), b"\0\0\0\1"
"""``hook_insert``, ``first_tb``, ``no_exit_request`` and ``init_done``, which follow each other."""
_FLAG = 2


def _release() -> tuple[int, int, int]:
    major, minor = ctypes.c_uint(), ctypes.c_uint()
    combined = native.library().uc_version(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value, combined >> 8 & 0xFF


class ExitChecks:
    """Made before the engine at ``handle`` is initialised, used after."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._known = _release() in RELEASES and ctypes.sizeof(ctypes.c_void_p) == 8
        self._before = ctypes.string_at(handle, _LOOKED_AT) if self._known else b""

    def leave_out(self) -> bool:
        """Compile no checks after loads and stores from now on; whether that could be arranged."""
        place = self._place()
        if place is None:
            return False
        ctypes.memset(self._handle + place + _FLAG, 1, 1)
        return True

    def _place(self) -> int | None:
        if not self._known:
            return None
        after = ctypes.string_at(self._handle, _LOOKED_AT)
        places = [
            at
            for at in range(0, _LOOKED_AT, 4)
            if self._before[at : at + 4] == _NEW and after[at : at + 4] == _INITIALISED
        ]
        return places[0] if len(places) == 1 else None
