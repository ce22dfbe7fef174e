"""What happens at the start of every block of guest code: instructions are counted, a stop is looked for.

Unicorn 2.1 tests for ``uc_emu_stop`` after every load and store as well, and then resumes *at* that
instruction: ``ldr x0, [x0]`` would run twice. So another thread must never stop it directly. It sets a flag
instead, and the hook at the start of a block, where nothing is half done, stops.

The hook is a dozen instructions of the host's own, because it runs some hundred million times a second:
it costs less than a tenth of the guest's speed, a Python function would cost all of it. Hosts other than
x86-64 and AArch64 with the System V calling convention, and those that refuse executable memory, get the
Python function.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from collections.abc import Callable

from unicorn import unicorn_const as uc

from unikiln.engine import native

_CODE = {
    # shr edx, 2; add [rcx], rdx; cmp byte [rcx + 8], 0; jne 1f; ret; 1: jmp [rcx + 16]
    "x86_64": bytes.fromhex("c1ea02 480111 80790800 7501 c3 ff6110"),
    # ldr x4, [x3]; lsr w5, w2, 2; add x4, x4, x5; str x4, [x3]; ldrb w5, [x3, 8]; cbnz w5, 1f; ret;
    # 1: ldr x6, [x3, 16]; br x6
    "aarch64": bytes.fromhex(
        "640040f9 457c0253 8400058b 640000f9 65204039 45000035 c0035fd6 660840f9 c0001fd6"
    ),
}
_CODE["AMD64"], _CODE["arm64"] = _CODE["x86_64"], _CODE["aarch64"]

BlockCallback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)


class _State(ctypes.Structure):
    """What the native hook is given: it adds to ``count``, and jumps to ``stop`` if ``flag`` is set."""

    _fields_ = (("count", ctypes.c_uint64), ("flag", ctypes.c_uint64), ("stop", ctypes.c_void_p))
    count: int
    flag: int
    stop: int | None


class BlockHook:
    """Counts and stops; ``stop`` is called in the guest's thread, between two blocks.

    :ivar native: whether the hook is machine code
    """

    def __init__(self, handle: int, stop: Callable[[], None]) -> None:
        self._state = _State()
        self._stop = stop
        self._stopper = BlockCallback(self._take_stop)
        self._state.stop = ctypes.cast(self._stopper, ctypes.c_void_p).value
        self._memory = _executable(_CODE.get(platform.machine(), b""))
        self.native = self._memory is not None
        if self._memory is not None:
            code: object = ctypes.c_char.from_buffer(self._memory)
            hook: object = ctypes.c_void_p(ctypes.addressof(code))  # type: ignore[arg-type]
        else:
            self._slow = BlockCallback(self._count)
            hook = self._slow
        native.add_hook(handle, uc.UC_HOOK_BLOCK, hook, ctypes.addressof(self._state))

    @property
    def instructions(self) -> int:
        """Instructions in all blocks that were entered, whether or not a block was left early."""
        return self._state.count

    def request_stop(self) -> None:
        """Stop before the next block; from any thread."""
        self._state.flag = 1

    def _take_stop(self, _uc: int, _address: int, _size: int, _data: int) -> None:
        self._state.flag = 0
        self._stop()

    def _count(self, _uc: int, _address: int, size: int, _data: int) -> None:
        self._state.count += size >> 2
        if self._state.flag:
            self._take_stop(0, 0, 0, 0)


def _executable(code: bytes) -> mmap.mmap | None:
    """``code`` in memory that the host may execute; None if it cannot be had."""
    if not code or sys.platform == "win32":
        return None
    try:
        memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    memory[: len(code)] = code
    return memory
