"""The machine's own changes to its tables, with and without what must follow them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine.hostfs import HostFileSystem
from unikiln.machine.checked import CheckedCpu
from unikiln.machine.cpu import NoCpu
from unikiln.machine.process import Process
from unikiln.machine.vma import PROT_READ, PROT_WRITE, Vma
from unikiln.mmu.check import BREAK_BEFORE_MAKE, MISSING_DSB, MISSING_INVALIDATION

VA = 0x10_0000


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(HostFileSystem(tmp_path), 16 << 20, check_mmu=True)


def _kinds(process: Process) -> list[str]:
    assert process.checker is not None
    process.checker.resume()
    return [finding.kind for finding in process.checker.findings]


def _life_of_a_page(process: Process) -> None:
    """Read it, write it (which copies the zero page), protect it, move it, drop it."""
    area = Vma(VA, VA + 0x4000, PROT_READ | PROT_WRITE)
    process.space.add(area)
    process.space.populate(area, VA, write=False)
    process.space.make_writable(area, VA)
    process.space.protect(VA, VA + 0x1000, PROT_READ)
    process.space.move(VA, 0x1000, VA + 0x10_0000)
    process.space.remove(0, 1 << 40)


def test_nothing_lacks_a_barrier(process: Process) -> None:
    process.attach(NoCpu())
    assert isinstance(process.space.cpu, CheckedCpu)
    _life_of_a_page(process)
    assert _kinds(process) == []


def test_without_its_barriers_every_kind_is_found(process: Process) -> None:
    process.space.cpu = NoCpu()  # nobody tells the checker of its barriers
    _life_of_a_page(process)
    kinds = _kinds(process)
    assert set(kinds) == {BREAK_BEFORE_MAKE, MISSING_DSB, MISSING_INVALIDATION}
    assert process.checker is not None
    broken = next(each for each in process.checker.findings if each.kind == BREAK_BEFORE_MAKE)
    assert "addrspace.py" in broken.written
    assert "make_writable" in broken.written
    assert "output address" in broken.reason


def test_the_scanner_must_invalidate(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    process.attach(NoCpu())
    space = process.space
    area = Vma(VA, VA + 0x1000, PROT_READ)
    space.add(area)
    space.populate(area, VA, write=False)
    index, _, _ = space.table.find(VA)
    space._file_words[index] = None
    assert process.scanner.scan(space) == 1
    assert _kinds(process) == []
    space.memory.tables.store(index, space.memory.tables.word[index] | 1 << 10)
    space.cpu.synchronize()
    monkeypatch.setattr(space.cpu, "invalidate_tlb", lambda: None)
    assert process.scanner.scan(space) == 1
    assert _kinds(process) == [MISSING_INVALIDATION]
    assert process.checker is not None
    assert "access flag" in process.checker.findings[0].reason
    assert "scanner.py" in process.checker.findings[0].written
