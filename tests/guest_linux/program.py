"""The program that runs in the guest: its pages are what the tests know beforehand."""

from __future__ import annotations

from typing import NamedTuple

from tests.guest.tiny import make_elf, words

PAGE = 4096


class Area(NamedTuple):
    """Anonymous memory: so many pages are stored to, then so many loaded from; the rest is left alone."""

    start: int
    pages: int
    written: int
    read: int = 0
    shared: bool = False

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.pages * PAGE


SMALL = Area(0x1000_0000, 256, written=64, read=32)
HUGE = Area(0x2000_0000, 1024, written=1024)
"""Two huge pages, if Linux has them to give."""
GROWING = Area(0x4000_0000, 1 << 14, written=1 << 14, shared=True)
"""A page more every few hundredths of a second, for minutes; shared memory gets no huge pages."""


def aarch64() -> bytes:
    """Map and touch the areas, then spin; the last one slowly."""
    code = [instruction for area in (SMALL, HUGE) for instruction in _map_and_touch(area, delay=0)]
    return make_elf(words(*code, *_map_and_touch(GROWING, delay=0x80_0000), 0x14000000))


def _map_and_touch(area: Area, delay: int) -> list[int]:
    """``mmap``, then a store or a load to each page, with ``delay`` rounds of nothing between."""
    code = [
        0xD2A00000 | area.start >> 16 << 5,  # mov x0, start
        0xD2A00001 | (area.pages * PAGE) >> 16 << 5,  # mov x1, length
        0xD2800062,  # mov x2, PROT_READ | PROT_WRITE
        0xD2800623 if area.shared else 0xD2800643,  # mov x3, MAP_ANONYMOUS | MAP_FIXED | how
        0x92800004,  # mov x4, -1
        0xD2800005,  # mov x5, 0
        0xD2801BC8,  # mov x8, SYS_mmap
        0xD4000001,  # svc 0
    ]
    if area.written:
        code += _touch(0xF9000013, area.written, delay)  # str x19, [x0]
    if area.read:
        code += _touch(0xF9400002, area.read, delay)  # ldr x2, [x0]
    return code


def _touch(instruction: int, pages: int, delay: int) -> list[int]:
    wait = [
        0xD2A00014 | delay >> 16 << 5,  # mov x20, delay
        0xF1000694,  # 2: subs x20, x20, 1
        0x54FFFFE1,  # b.ne 2b
    ]
    body = [instruction, 0x91400400, *(wait if delay else [])]  # 1: access; add x0, x0, 4096
    back = (-len(body) - 1) & 0x7FFFF
    return [
        0xD2800013 | pages << 5,  # mov x19, pages
        *body,
        0xF1000673,  # subs x19, x19, 1
        0x54000001 | back << 5,  # b.ne 1b
    ]


def x86_64(said: bytes) -> bytes:
    """Map and touch the first two areas, write ``said`` to standard output, then spin."""
    code = b"".join(_map_and_touch_x86(area) for area in (SMALL, HUGE))
    code += _load(0xB8, 1) + _load(0xBF, 1)  # mov eax, SYS_write; mov edi, 1
    code += bytes.fromhex("488d3509000000") + _load(0xBA, len(said))  # lea rsi, said; mov edx, length
    code += bytes.fromhex("0f05 ebfe")  # syscall; jmp .
    return make_elf(code + said, machine=62)


def _map_and_touch_x86(area: Area) -> bytes:
    code = _load(0xB8, 9)  # mov eax, SYS_mmap
    code += _load(0xBF, area.start) + _load(0xBE, area.pages * PAGE)  # mov edi, start; mov esi, length
    code += _load(0xBA, 3)  # mov edx, PROT_READ | PROT_WRITE
    code += b"\x41" + _load(0xBA, 0x32)  # mov r10d, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
    code += bytes.fromhex("49c7c0ffffffff 4531c9 0f05")  # mov r8, -1; xor r9d, r9d; syscall
    for access, pages in (("488908", area.written), ("488b10", area.read)):  # mov [rax], rcx; mov rdx, [rax]
        if pages:
            code += _load(0xB9, pages)  # mov ecx, pages
            code += bytes.fromhex(access + "480500100000 ffc9 75f3")  # add rax, 4096; dec ecx; jnz access
    return code


def _load(opcode: int, value: int) -> bytes:
    """``mov`` of a number to a register of 32 bits."""
    return bytes([opcode]) + value.to_bytes(4, "little")
