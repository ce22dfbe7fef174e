from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guest import tiny
from tests.machine.hostfs import HostFileSystem
from tests.machine.running import run
from unikiln.errors import ElfError
from unikiln.machine.elf import read_program
from unikiln.machine.vfs.tmpfs import MemoryNode

Install = Callable[[str, bytes], None]
GOOD = tiny.make_elf(tiny.exit_with(0))


def _file(content: bytes) -> MemoryNode:
    node = MemoryNode(0o100755)
    node.write(0, content)
    return node


def _refused(content: bytes) -> str:
    with pytest.raises(ElfError) as refused:
        read_program(_file(content), "/p")
    text = str(refused.value)
    assert text.startswith("/p: ")
    assert "\n" not in text
    return text


def test_headers_become_segments() -> None:
    program = read_program(_file(GOOD), "/p")
    (segment,) = program.segments
    assert (segment.vaddr, segment.offset, segment.file_size) == (tiny.BASE, 0, len(GOOD))
    assert (program.entry, program.headers, program.header_count) == (tiny.BASE + 120, tiny.BASE + 64, 1)
    assert program.end == tiny.BASE + 4096


def test_a_position_independent_program_is_moved() -> None:
    program = read_program(_file(tiny.make_elf(b"", kind=3)), "/p")
    assert program.entry - tiny.BASE - 120 == 0xAAAA_AAAA_0000


def test_what_cannot_be_run_is_told_in_one_line() -> None:
    assert "not an ELF program" in _refused(b"\0" * 100)
    assert "not an ELF program" in _refused(b"")
    assert "script" in _refused(b"#!/bin/sh\necho\n")
    assert "/bin/sh" in _refused(b"#!/bin/sh\necho\n")
    assert "X86_64, not for 64-bit AArch64" in _refused(tiny.make_elf(b"", machine=62))
    assert "not an executable" in _refused(tiny.make_elf(b"", kind=1))
    assert "damaged" in _refused(GOOD[:40])
    assert "damaged" in _refused(GOOD[:80])
    assert "makes no sense" in _refused(GOOD[:-4])
    assert "nothing to run" in _refused(tiny.make_elf(b"", entry=0))


def test_a_dynamic_program_needs_what_comes_later() -> None:
    interpreted = bytearray(GOOD)
    struct.pack_into("<I", interpreted, 64, 3)
    assert "needs an interpreter" in _refused(bytes(interpreted))


@settings(max_examples=300)
@given(st.integers(4, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)))
def test_damage_is_an_elf_error_or_harmless(at: int, value: int, length: int) -> None:
    content = bytearray(GOOD)
    content[at] = value
    for damaged in (bytes(content), bytes(content)[:length]):
        try:
            read_program(_file(damaged), "/p")
        except ElfError as error:
            assert "\n" not in str(error)


def test_programs_are_found_by_path(root: Path, install: Install) -> None:
    (root / "bin").mkdir()
    install("bin/program", GOOD)
    assert run(root, "program").status == 0
    assert run(root, "bin/program").status == 0
    assert run(root, "./program", cwd="/bin").status == 0
    for name in ("absent", "/bin/absent", "program/x", "/bin/program/x"):
        with pytest.raises(ElfError, match="in the image"):
            run(root, name)
    with pytest.raises(ElfError, match="not a file"):
        run(root, "/bin")
    with pytest.raises(ElfError, match="not a directory"):
        run(root, "/bin/program", cwd="/bin/program")


def test_bss_is_zero_also_in_the_last_page_of_the_file(root: Path, install: Install) -> None:
    """Reads a word past the file's part of its segment, and exits with it."""
    code = tiny.words(0x10000080, 0xB9400000, 0xD2800BC8, 0xD4000001)  # adr x0, end; ldr w0, [x0]; exit
    install("program", tiny.make_elf(code, flags=7, memory_size=3 * 4096))
    assert run(root, "/program").status == 0
    assert HostFileSystem(root).root.lookup(b"program") is not None
