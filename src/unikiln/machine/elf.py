"""Loading static AArch64 Linux programs: ELF headers to areas over the file (System V ABI, AArch64 ELF)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from unikiln.base.size import round_up
from unikiln.errors import ElfError
from unikiln.machine.addrspace import LOWEST, STACK_TOP, AddressSpace
from unikiln.machine.usermemory import UserMemory
from unikiln.machine.vfs.node import Node
from unikiln.machine.vma import PROT_EXEC, PROT_READ, PROT_WRITE, Vma
from unikiln.mmu.aarch64.layout import PAGE_MASK, PAGE_SIZE

PIE_BASE = 0xAAAA_AAAA_0000
"""Two thirds up the address space, where Linux puts position-independent programs (randomly, there)."""

_PROT_OF_FLAGS = ((4, PROT_READ), (2, PROT_WRITE), (1, PROT_EXEC))


@dataclass(frozen=True, slots=True)
class Segment:
    """A PT_LOAD program header."""

    vaddr: int
    offset: int
    file_size: int
    memory_size: int
    prot: int


@dataclass(frozen=True, slots=True)
class Program:
    """What the headers say; addresses are final, with the load bias added."""

    node: Node
    name: str
    entry: int
    headers: int
    header_size: int
    header_count: int
    segments: tuple[Segment, ...]

    @property
    def end(self) -> int:
        """The first page after the program: where the heap begins."""
        return max(round_up(each.vaddr + each.memory_size, PAGE_SIZE) for each in self.segments)


class _NodeStream(io.RawIOBase):
    """A node as the seekable stream that pyelftools reads."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        length = self._node.size - self._position if size < 0 else size
        data = self._node.read(self._position, max(length, 0))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._node.size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position


def read_program(node: Node, name: str) -> Program:
    """The program in ``node``.

    :raises ElfError: not an ELF, damaged, for another machine, or in need of an interpreter
    """
    _check_magic(node, name)
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(cast("IO[bytes]", _NodeStream(node)))
        header = elf.header
        _check_header(elf, name)
        raw = [elf._get_segment_header(number) for number in range(elf.num_segments())]
    except (ELFError, ConstructError, ValueError, AssertionError, KeyError, OverflowError) as error:
        raise ElfError(f"{name}: damaged ELF program ({error or type(error).__name__})") from error
    if any(each["p_type"] == "PT_INTERP" for each in raw):
        raise ElfError(
            f"{name}: needs an interpreter (it is dynamically linked), which is not supported yet",
            hint="link it with -static",
        )
    bias = PIE_BASE if header["e_type"] == "ET_DYN" else 0
    loads = [_segment(each, bias, node, name) for each in raw if each["p_type"] == "PT_LOAD"]
    if not loads or not header["e_entry"]:
        raise ElfError(f"{name}: has nothing to run (no loadable segment or no entry point)")
    return Program(
        node, name, header["e_entry"] + bias, _headers_address(header["e_phoff"], loads),
        header["e_phentsize"], header["e_phnum"], tuple(loads),
    )  # fmt: skip


def load(program: Program, space: AddressSpace, user: UserMemory) -> None:
    """Make the program's segments areas of ``space``."""
    for segment in program.segments:
        start, end = segment.vaddr & ~PAGE_MASK, segment.vaddr + segment.memory_size
        file_end = segment.vaddr + segment.file_size
        mapped = round_up(file_end, PAGE_SIZE) if segment.file_size else start
        if mapped > start:
            offset = segment.offset & ~PAGE_MASK
            space.add(Vma(start, mapped, segment.prot, False, program.node, offset, program.name))
        if end > mapped:
            space.add(Vma(mapped, round_up(end, PAGE_SIZE), segment.prot, name="[bss]"))
        if end > file_end and mapped > file_end and segment.prot & PROT_WRITE:
            user.write(file_end, bytes(min(mapped, end) - file_end))


def _check_magic(node: Node, name: str) -> None:
    if not node.is_regular:
        raise ElfError(f"{name}: is not a file")
    start = node.read(0, 64)
    if start.startswith(b"#!"):
        interpreter = start[2:].split(b"\n")[0].strip().decode(errors="replace")
        raise ElfError(f"{name}: is a script", hint=f"run its interpreter: {interpreter} {name}")
    if not start.startswith(b"\x7fELF"):
        raise ElfError(f"{name}: is not an ELF program")
    if len(start) < 64:
        raise ElfError(f"{name}: damaged ELF program (ends within its header)")


def _check_header(elf: object, name: str) -> None:
    header = elf.header  # type: ignore[attr-defined]
    machine = header["e_machine"]
    if machine != "EM_AARCH64" or header["e_ident"]["EI_CLASS"] != "ELFCLASS64":
        raise ElfError(
            f"{name}: is a program for {str(machine).removeprefix('EM_')}, not for 64-bit AArch64",
            hint="build it with aarch64-linux-gnu-gcc -static",
        )
    if header["e_ident"]["EI_DATA"] != "ELFDATA2LSB":
        raise ElfError(f"{name}: is big-endian")
    if header["e_type"] not in ("ET_EXEC", "ET_DYN"):
        raise ElfError(f"{name}: is not an executable ({header['e_type']})")
    if header["e_phentsize"] != 56:
        raise ElfError(f"{name}: damaged ELF program (program headers of {header['e_phentsize']} bytes)")


def _segment(header: Mapping[str, Any], bias: int, node: Node, name: str) -> Segment:
    flags = header["p_flags"]
    prot = sum(bit for flag, bit in _PROT_OF_FLAGS if flags & flag)
    segment = Segment(
        header["p_vaddr"] + bias, header["p_offset"], header["p_filesz"], header["p_memsz"], prot
    )
    in_file = segment.file_size > 0
    if (
        segment.file_size > segment.memory_size
        or (in_file and segment.offset + segment.file_size > node.size)
        or (in_file and (segment.vaddr - segment.offset) & PAGE_MASK)
        or not LOWEST <= segment.vaddr <= segment.vaddr + segment.memory_size <= STACK_TOP
    ):
        raise ElfError(f"{name}: damaged ELF program (segment at {segment.vaddr:#x} makes no sense)")
    return segment


def _headers_address(offset: int, loads: list[Segment]) -> int:
    """Where the program headers lie in memory, for AT_PHDR; 0 if no segment holds them."""
    for each in loads:
        if each.offset <= offset < each.offset + each.file_size:
            return offset - each.offset + each.vaddr
    return 0
