"""Memory dumps for tests: ELF cores, written by hand."""

from __future__ import annotations

import struct
from typing import NamedTuple

AARCH64, X86_64 = 183, 62
CORE, EXECUTABLE = 4, 2
_HEADER, _SEGMENT = 64, 56
_PT_LOAD, _PT_NOTE = 1, 4


class Load(NamedTuple):
    """A range of memory."""

    pa: int
    content: bytes


def note(name: bytes, kind: int, content: bytes) -> bytes:
    """A note of a core."""
    header = struct.pack("<III", len(name) + 1, len(content), kind) + name + b"\0"
    return header + bytes(-len(header) % 4) + content + bytes(-len(content) % 4)


def qemu_state(cr: tuple[int, int, int, int, int]) -> bytes:
    """QEMU's note about an x86-64 processor (target/i386/arch_dump.c, QEMUCPUState), all else being 0."""
    return note(
        b"QEMU", 0, struct.pack("<II", 1, 440) + bytes(18 * 8 + 10 * 24) + struct.pack("<5QQ", *cr, 0)
    )


def core(
    *loads: Load, notes: bytes = b"", machine: int = AARCH64, kind: int = CORE, little: bool = True
) -> bytes:
    """An ELF core with these ranges, in this order; contents follow each other without padding."""
    order = "<" if little else ">"
    ident = b"\x7fELF" + bytes([2, 1 if little else 2, 1]) + bytes(9)
    count = len(loads) + 1
    header = ident + struct.pack(
        f"{order}HHIQQQIHHHHHH", kind, machine, 1, 0, _HEADER, 0, 0, _HEADER, _SEGMENT, count, 64, 0, 0
    )
    at = _HEADER + count * _SEGMENT
    segments = struct.pack(f"{order}IIQQQQQQ", _PT_NOTE, 0, at, 0, 0, len(notes), len(notes), 4)
    at += len(notes)
    for load in loads:
        size = len(load.content)
        segments += struct.pack(f"{order}IIQQQQQQ", _PT_LOAD, 0, at, load.pa, load.pa, size, size, 0)
        at += size
    return header + segments + notes + b"".join(load.content for load in loads)
