"""Guest programs without a compiler: an ELF around machine code, and three loops of it."""

from __future__ import annotations

import struct

BASE = 0x400000
_HEADERS = 64 + 56


def make_elf(
    code: bytes,
    *,
    machine: int = 183,
    kind: int = 2,
    flags: int = 5,
    entry: int | None = None,
    memory_size: int | None = None,
) -> bytes:
    """A static ELF executable whose only segment is the file itself: headers, then ``code``."""
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    start = BASE + _HEADERS if entry is None else entry
    header = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, start, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, flags, 0, BASE, BASE, size, memory_size or size, 0x1000)
    return header + segment + code


def words(*instructions: int) -> bytes:
    """Instruction words."""
    return struct.pack(f"<{len(instructions)}I", *instructions)


def exit_with(status: int) -> bytes:
    """``mov x0, status; mov x8, 94; svc 0``."""
    return words(0xD2800000 | status << 5, 0xD2800BC8, 0xD4000001)


def _loop(code: str, pages: int, rounds: int) -> bytes:
    """``code`` with its two counters, which stand behind a branch and a nop, set."""
    raw = bytes.fromhex(code)
    return make_elf(raw[:8] + struct.pack("<QQ", pages, rounds) + raw[24:])


def getppid_loop(count: int) -> bytes:
    """``count`` times ``getppid``.

    ::

        b 1f; nop; N: .quad; R: .quad; 1: ldr x19, N; mov x8, 173
        2: svc 0; subs x19, x19, 1; b.ne 2b; mov x0, 0; mov x8, 94; svc 0
    """
    return _loop(
        "060000141f2003d50000000000000000000000000000000093ffff58a81580d2"
        "010000d4730600f1c1ffff54000080d2c80b80d2010000d4",
        count,
        0,
    )


def touch_loop(pages: int) -> bytes:
    """Map ``pages`` of anonymous memory and store to each once.

    ::

        ... mmap(0, N << 12, 3, 0x22, -1, 0)
        2: str x19, [x0]; add x0, x0, 4096; subs x19, x19, 1; b.ne 2b; exit(0)
    """
    return _loop(
        "060000141f2003d500000000000000000000000000000000000080d273ffff58"
        "61ce74d3620080d2430480d204008092050080d2c81b80d2010000d4130000f9"
        "00044091730600f1a1ffff54000080d2c80b80d2010000d4",
        pages,
        0,
    )


def file_loop(pages: int, rounds: int) -> bytes:
    """Map ``pages`` of ``/data``; ``rounds`` times read a word of each, then call ``sched_yield``.

    ::

        ... openat(-100, "/data", 0, 0); mmap(0, N << 12, 1, 2, fd, 0); mov x21, x0; ldr x20, R
        2: mov x1, x21; ldr x19, N
        3: ldr x2, [x1]; add x1, x1, 4096; subs x19, x19, 1; b.ne 3b
        sched_yield(); subs x20, x20, 1; b.ne 2b; exit(0)
    """
    return _loop(
        "060000141f2003d500000000000000000000000000000000600c8092a1030010"
        "020080d2030080d2080780d2010000d4e40300aa000080d281feff5821cc74d3"
        "220080d2430080d2050080d2c81b80d2010000d4f50300aad4fdff58e10315aa"
        "53fdff58220040f921044091730600f1a1ffff54880f80d2010000d4940600f1"
        "e1feff54000080d2c80b80d2010000d42f6461746100",
        pages,
        rounds,
    )
