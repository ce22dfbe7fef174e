"""Physical memory from a file: raw, or an ELF core as QEMU's ``dump-guest-memory`` and kdump write it.

An ELF core has a PT_LOAD segment for each range of RAM, with its physical address. QEMU adds a note for
each processor, which on x86-64 holds the control registers (QEMU, target/i386/arch_dump.c, ``QEMUCPUState``).
The file is mapped into memory, not read.
"""

from __future__ import annotations

import errno
import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from unikiln.errors import HostError, MmuError

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

    from unikiln.mmu.memory import Mask, Words

_WORD = 8
_ARCHITECTURES = {"EM_AARCH64": "aarch64", "EM_X86_64": "x86_64"}
_NO_ADDRESS = (1 << 64) - 1
_CONTROL_REGISTERS = struct.Struct("<5Q")
_CONTROL_REGISTERS_AT = 2 * 4 + 18 * 8 + 10 * 24
_KDUMP = (b"KDUMP   ", b"makedumpfile")


class Span(NamedTuple):
    """A range of physical memory, and where in the file it lies."""

    first: int
    size: int
    offset: int


class Contents(NamedTuple):
    """What a dump has: its memory by address; if it says, its architecture and CR0 to CR4 of each vcpu."""

    spans: list[Span]
    arch: str | None = None
    control_registers: tuple[tuple[int, ...], ...] = ()


class Dump:
    """The dump in the file ``path``. A raw one begins at the physical address ``base``.

    :raises HostError: the file cannot be opened
    :raises MmuError: it is truncated, or no dump that can be read
    """

    def __init__(self, path: Path, base: int | None = None) -> None:
        self.path = path
        if path.is_fifo():  # opening would wait for a writer
            raise MmuError(f"{path}: is a pipe, which cannot be mapped", hint="write it to a file")
        try:
            with path.open("rb") as file:
                content = _mapped(file, path)
                self.contents = _elf(file, path) if content[:4] == b"\x7fELF" else _raw(content, path, base)
        except OSError as error:
            raise HostError(f"{path}: {error.strerror}") from error
        first, size, offset = np.array(self.contents.spans, dtype=np.uint64).T
        self._first, self._size, self._offset = first, size, offset
        # Element n is the word at byte n: segments of a core are not aligned to words.
        self._word_at: npt.NDArray[np.uint64] = np.ndarray((len(content) - 7,), "<u8", content, strides=(1,))

    def load(self, pa: int) -> int:
        """The word at ``pa``.

        :raises MmuError: it is not in the dump
        """
        values, present = self.gather(np.array([pa], dtype=np.uint64))
        if not present[0]:
            raise MmuError(f"no memory at {pa:#x}: {self.path} has {self.ranges()}")
        return int(values[0])

    def gather(self, addresses: Words) -> tuple[Words, Mask]:
        """The words at many addresses: their values (0 where there is no memory), and where there is."""
        span = np.searchsorted(self._first, addresses, side="right") - 1
        inside = addresses - self._first[span]
        present = (span >= 0) & (inside <= self._size[span] - np.uint64(_WORD))
        offsets = (self._offset[span] + inside)[present].astype(np.int64)
        values = np.zeros(len(addresses), dtype=np.uint64)
        values[present] = self._word_at[offsets]
        return values, present

    def ranges(self) -> str:
        """The physical addresses that the dump has, for people."""
        spans = self.contents.spans
        shown = ", ".join(f"{span.first:#x}-{span.first + span.size - 1:#x}" for span in spans[:4])
        return shown if len(spans) <= 4 else f"{shown} and {len(spans) - 4} more"


def _mapped(file: BinaryIO, path: Path) -> mmap.mmap:
    size = file.seek(0, 2)
    if size < _WORD:
        raise MmuError(f"{path}: {size} bytes are no memory dump")
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _raw(content: mmap.mmap, path: Path, base: int | None) -> Contents:
    if content[:8] in _KDUMP or content[:12] in _KDUMP:
        raise MmuError(f"{path}: is a compressed dump", hint="dump again without a format, as ELF")
    if base is None:
        hint = "give --base, such as 0x40000000 for QEMU's virt machine, or 0"
        raise MmuError(f"{path}: is a raw dump that does not say at which address it begins", hint=hint)
    if base % _WORD or base + len(content) > 1 << 64:
        raise MmuError(f"{path}: cannot begin at {base:#x}")
    return Contents([Span(base, len(content), 0)])


def _elf(file: BinaryIO, path: Path) -> Contents:
    """The memory in an ELF core; bytes that are no ELF make the library raise almost anything."""
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        return _core(ELFFile(file), path)
    except (ELFError, ConstructError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise MmuError(f"{path}: is a damaged ELF file: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise MmuError(f"{path}: is a damaged ELF file: an offset that no file has") from error


def _core(elf: ELFFile, path: Path) -> Contents:
    arch = _ARCHITECTURES.get(elf["e_machine"])
    if elf["e_type"] != "ET_CORE" or arch is None or not elf.little_endian or elf.elfclass != 64:
        raise MmuError(f"{path}: is no ELF core of AArch64 or x86-64")
    spans = [
        Span(segment["p_paddr"], segment["p_filesz"], segment["p_offset"])
        for segment in elf.iter_segments("PT_LOAD")
        if segment["p_filesz"] >= _WORD and segment["p_paddr"] != _NO_ADDRESS
    ]
    _check(spans, elf.stream.seek(0, 2), path)
    return Contents(_disjoint(spans), arch, _control_registers(elf))


def _check(spans: list[Span], size: int, path: Path) -> None:
    """Refuse a core without memory, and one that ends before its memory does."""
    if not spans:
        raise MmuError(f"{path}: has no memory: no PT_LOAD segment")
    for span in spans:
        end = span.offset + span.size
        if end > size:
            where = f"memory from {span.first:#x} ends at byte {end:,}, the file at {size:,}"
            raise MmuError(f"{path}: is truncated: {where}")


def _disjoint(spans: list[Span]) -> list[Span]:
    """Spans by address, each without what one before it has: kdump has the kernel's text twice."""
    kept: list[Span] = []
    end = 0
    for first, size, offset in sorted(spans):
        double = max(0, end - first)
        if double + _WORD <= size:
            kept.append(Span(first + double, size - double, offset + double))
            end = first + size
    return kept


def _control_registers(elf: ELFFile) -> tuple[tuple[int, ...], ...]:
    """CR0 to CR4 of each processor, if the dump is QEMU's and of x86-64."""
    from elftools.elf.segments import NoteSegment

    states = [
        note["n_descdata"]
        for segment in elf.iter_segments("PT_NOTE")
        if isinstance(segment, NoteSegment)
        for note in segment.iter_notes()
        if note["n_name"] == "QEMU"
    ]
    return tuple(
        _CONTROL_REGISTERS.unpack_from(state, _CONTROL_REGISTERS_AT)
        for state in states
        if len(state) >= _CONTROL_REGISTERS_AT + _CONTROL_REGISTERS.size
    )
