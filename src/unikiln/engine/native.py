"""Unicorn's C functions, called with prebuilt arguments.

The Python binding converts arguments at each call: reading seven registers takes it 12 us, and this 0.7 us.
Functions that return at once are called without giving up the interpreter lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

MASK = (1 << 64) - 1


class TlbEntry(ctypes.Structure):
    """``uc_tlb_entry``: what a TLB fill hook fills in."""

    _fields_ = (("paddr", ctypes.c_uint64), ("perms", ctypes.c_uint32))
    paddr: int
    perms: int


FillCallback = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
)
InterruptCallback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)
InvalidCallback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)


@cache
def library() -> ctypes.PyDLL:
    """The library that the binding loaded, for calls that keep the interpreter lock."""
    return ctypes.PyDLL(_library_path())


@cache
def blocking_library() -> ctypes.CDLL:
    """The same for calls that take long: other threads run meanwhile."""
    return ctypes.CDLL(_library_path())


def _library_path() -> str:
    from unicorn.unicorn_py3.unicorn import uclib

    return str(uclib._name)


def add_hook(handle: int, kind: int, callback: object, data: int = 0) -> None:
    """Install ``callback`` (which the caller keeps alive) for every address."""
    hook = ctypes.c_size_t()
    function = ctypes.cast(callback, ctypes.c_void_p)  # type: ignore[arg-type]
    error = library().uc_hook_add(
        ctypes.c_void_p(handle), ctypes.byref(hook), kind, function, ctypes.c_void_p(data),
        ctypes.c_uint64(1), ctypes.c_uint64(0),
    )  # fmt: skip
    if error:
        raise RuntimeError(f"uc_hook_add: error {error}")


def batch_reader(handle: int, registers: list[int]) -> Callable[[], list[int]]:
    """A function that reads these registers at once."""
    count = len(registers)
    values = (ctypes.c_uint64 * count)()
    pointers = (ctypes.c_void_p * count)(*(ctypes.addressof(values) + 8 * n for n in range(count)))
    numbers = (ctypes.c_int * count)(*registers)
    engine, how_many = ctypes.c_void_p(handle), ctypes.c_int(count)
    read = library().uc_reg_read_batch

    def read_all() -> list[int]:
        read(engine, numbers, pointers, how_many)
        return values[:]

    return read_all


def writer(handle: int, register: int) -> Callable[[int], None]:
    """A function that writes this register."""
    value = ctypes.c_uint64()
    where = ctypes.byref(value)
    engine, number = ctypes.c_void_p(handle), ctypes.c_int(register)
    write = library().uc_reg_write

    def write_one(new: int) -> None:
        value.value = new & MASK
        write(engine, number, where)

    return write_one
