"""The initial stack of a Linux process: argc, argv, envp, the auxiliary vector, and what they point to."""

from __future__ import annotations

import os
import struct

from unikiln.errors import ElfError
from unikiln.machine.addrspace import STACK_TOP, AddressSpace
from unikiln.machine.elf import Program
from unikiln.machine.usermemory import UserMemory
from unikiln.machine.vma import PROT_READ, PROT_WRITE, Vma
from unikiln.mmu.aarch64.layout import PAGE_SIZE

STACK_SIZE = 8 << 20
MOST_ARGUMENT_BYTES = STACK_SIZE // 4
"""As Linux: a quarter of the stack for arguments and environment."""

(AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY) = 0, 3, 4, 5, 6, 7, 8, 9
(AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK) = 11, 12, 13, 14, 15, 16, 17
(AT_SECURE, AT_RANDOM, AT_HWCAP2, AT_EXECFN, AT_MINSIGSTKSZ) = 23, 25, 26, 31, 51

HWCAP = 0b1_1111_1011
"""FP, ASIMD, AES, PMULL, SHA1, SHA2, CRC32, ATOMICS; not EVTSTRM, and not CPUID, which needs MRS traps."""


def build(
    program: Program, argv: list[bytes], env: list[bytes], space: AddressSpace, user: UserMemory
) -> int:
    """Add the stack's area and write what a program finds there; the stack pointer.

    :raises ElfError: arguments and environment are too long
    """
    strings = [*argv, *env]
    if sum(len(each) + 9 for each in strings) > MOST_ARGUMENT_BYTES:
        raise ElfError(f"{program.name}: the arguments and the environment are too long")
    top = STACK_TOP
    space.add(Vma(top - STACK_SIZE, top, PROT_READ | PROT_WRITE, name="[stack]"))

    block = b"".join(each + b"\0" for each in (*strings, b"aarch64", program.name.encode())) + bytes(8)
    base = (top - len(block)) & ~15
    random_at = base - 16
    addresses = _addresses(strings, base)
    platform = base + sum(len(each) + 1 for each in strings)
    vector = _auxiliary(program, random_at, platform, platform + 8)
    words = [len(argv), *addresses[: len(argv)], 0, *addresses[len(argv) :], 0, *vector]
    sp = (random_at - 8 * len(words)) & ~15
    user.write(base, block)
    user.write(random_at, os.urandom(16))
    user.write(sp, struct.pack(f"<{len(words)}Q", *words))
    return sp


def _addresses(strings: list[bytes], base: int) -> list[int]:
    addresses = []
    for each in strings:
        addresses.append(base)
        base += len(each) + 1
    return addresses


def _auxiliary(program: Program, random_at: int, platform: int, execfn: int) -> list[int]:
    pairs = {
        AT_PHDR: program.headers, AT_PHENT: program.header_size, AT_PHNUM: program.header_count,
        AT_PAGESZ: PAGE_SIZE, AT_BASE: 0, AT_FLAGS: 0, AT_ENTRY: program.entry,
        AT_UID: 0, AT_EUID: 0, AT_GID: 0, AT_EGID: 0, AT_SECURE: 0,
        AT_HWCAP: HWCAP, AT_HWCAP2: 0, AT_CLKTCK: 100, AT_MINSIGSTKSZ: 5120,
        AT_PLATFORM: platform, AT_RANDOM: random_at, AT_EXECFN: execfn, AT_NULL: 0,
    }  # fmt: skip
    return [word for pair in pairs.items() for word in pair]
