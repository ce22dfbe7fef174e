"""Memory from files: what each address holds, and what is refused."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mmu.cores import AARCH64, EXECUTABLE, X86_64, Load, core, note, qemu_state
from tests.qemu import machine
from unikiln.base.qmp import Qmp
from unikiln.errors import HostError, MmuError
from unikiln.mmu.dump import Dump

BASE = 0x4000_0000
NOISE = random.Random(2).randbytes(1 << 14)


def file(folder: Path, content: bytes) -> Path:
    path = folder / "dump"
    path.write_bytes(content)
    return path


def word(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 8], "little")


def words(*addresses: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(addresses, dtype=np.uint64)


def test_a_raw_dump(tmp_path: Path) -> None:
    dump = Dump(file(tmp_path, NOISE), BASE)
    assert dump.load(BASE) == word(NOISE, 0)
    last = BASE + len(NOISE) - 8
    assert dump.load(last) == word(NOISE, len(NOISE) - 8)
    values, present = dump.gather(words(last, BASE - 8, BASE + 64, last + 8, 0, (1 << 64) - 8))
    assert present.tolist() == [True, False, True, False, False, False]
    assert values.tolist() == [word(NOISE, len(NOISE) - 8), 0, word(NOISE, 64), 0, 0, 0]
    with pytest.raises(MmuError, match=r"no memory at 0x40004000: .*dump has 0x40000000-0x40003fff"):
        dump.load(last + 8)


def test_a_raw_dump_of_an_odd_size_has_no_half_words(tmp_path: Path) -> None:
    dump = Dump(file(tmp_path, NOISE[:21]), 0)
    assert dump.load(8) == word(NOISE, 8)
    with pytest.raises(MmuError, match="no memory at 0x10"):
        dump.load(16)


def test_a_raw_dump_needs_a_base_that_is_one(tmp_path: Path) -> None:
    path = file(tmp_path, NOISE)
    with pytest.raises(MmuError, match="does not say at which address it begins") as caught:
        Dump(path)
    assert caught.value.hint is not None and "--base" in caught.value.hint
    for base in (4, (1 << 64) - 8):
        with pytest.raises(MmuError, match=f"cannot begin at {base:#x}"):
            Dump(path, base)


LOADS = (Load(BASE, NOISE[:4096]), Load(0x1000, NOISE[4096:8192]), Load(BASE + 8192, NOISE[8192:8300]))


@pytest.mark.parametrize("padding", [0, 4, 8, 12])
def test_a_core_with_several_segments(tmp_path: Path, padding: int) -> None:
    """Notes of any multiple of four bytes shift the words in the file."""
    content = core(*LOADS, notes=note(b"CORE", 1, bytes(padding)))
    dump = Dump(file(tmp_path, content))
    assert dump.contents.arch == "aarch64"
    for load in LOADS:
        for at in range(0, len(load.content) - 7, 8):
            assert dump.load(load.pa + at) == word(load.content, at)
    addresses = words(0x1000, BASE + 4088, BASE + 4096, BASE + 8192 + 96, BASE + 8192 + 104, 0xFF8)
    _, present = dump.gather(addresses)
    assert present.tolist() == [True, True, False, True, False, False]
    assert dump.ranges().startswith("0x1000-0x1fff, 0x40000000-0x40000fff")


def test_memory_that_a_core_has_twice(tmp_path: Path) -> None:
    """kdump's cores begin with the kernel's text, which lies in one of the later segments too."""
    whole = NOISE[:8192]
    loads = (Load(BASE + 1024, whole[1024:2048]), Load(BASE, whole), Load((1 << 64) - 1, bytes(64)))
    dump = Dump(file(tmp_path, core(*loads)))
    found, present = dump.gather(words(*range(BASE, BASE + 8192, 8)))
    assert present.all()
    assert found.tobytes() == whole


def test_many_segments_are_named_in_short(tmp_path: Path) -> None:
    loads = [Load(index << 20, NOISE[:64]) for index in range(9)]
    assert Dump(file(tmp_path, core(*loads))).ranges().endswith(" and 5 more")


def test_control_registers_of_a_qemu_core(tmp_path: Path) -> None:
    first, second = (0x8005_0033, 0, 1, 0x1000, 0x20), (2, 3, 4, 5, 6)
    notes = note(b"CORE", 1, bytes(336)) + qemu_state(first) + qemu_state(second) + note(b"QEMU", 0, bytes(8))
    dump = Dump(file(tmp_path, core(*LOADS, notes=notes, machine=X86_64)))
    assert dump.contents.arch == "x86_64"
    assert dump.contents.control_registers == (first, second)


@pytest.mark.judge("qemu-system-aarch64")
def test_a_core_that_qemu_wrote(tmp_path: Path) -> None:
    loader = "loader,addr=0x40800000,data=0x1122334455667788,data-len=8"
    arguments = ("-M", "virt", "-cpu", "cortex-a57", "-m", "16", "-smp", "2", "-S", "-device", loader)
    with machine("qemu-system-aarch64", tmp_path, *arguments) as running, Qmp(running.socket) as qmp:
        qmp.execute("dump-guest-memory", paging=False, protocol=f"file:{tmp_path / 'core'}")
    dump = Dump(tmp_path / "core")
    assert dump.contents.arch == "aarch64"
    assert dump.contents.control_registers == ()
    assert dump.load(0x4080_0000) == 0x1122_3344_5566_7788
    with pytest.raises(MmuError, match="no memory at 0x41000000:"):
        dump.load(BASE + (16 << 20))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes are no memory dump"),
        (b"KDUMP   " + bytes(64), "is a compressed dump"),
        (b"makedumpfile" + bytes(64), "is a compressed dump"),
        (core(*LOADS)[:-1], "is truncated: memory from 0x40002000 ends at byte 8,"),
        (core(*LOADS)[:300], "is truncated: memory from 0x40000000"),
        (core(*LOADS)[:70], "damaged ELF file"),
        (core(*LOADS)[:40], "damaged ELF file"),
        (core(), "no PT_LOAD segment"),
        (core(Load(BASE, b"1234")), "no PT_LOAD segment"),
        (core(*LOADS, kind=EXECUTABLE), "is no ELF core of AArch64 or x86-64"),
        (core(*LOADS, machine=243), "is no ELF core of AArch64 or x86-64"),
        (core(*LOADS, little=False), "is no ELF core of AArch64 or x86-64"),
    ],
)
def test_what_is_no_dump(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(MmuError) as caught:
        Dump(file(tmp_path, content))
    assert message in str(caught.value)
    assert str(tmp_path / "dump") in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="nothing: No such file or directory"):
        Dump(tmp_path / "nothing", 0)
    with pytest.raises(HostError, match="Is a directory"):
        Dump(tmp_path, 0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MmuError, match="is a pipe"):
        Dump(tmp_path / "pipe", 0)


@given(st.data())
def test_damaged_cores_are_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(core(*LOADS, notes=qemu_state((1, 2, 3, 4, 5)), machine=AARCH64))
    metadata = 64 + 4 * 56 + 100
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, metadata))] = data.draw(st.integers(0, 255))
    path = file(tmp_path, bytes(content))
    try:
        dump = Dump(path)
        _, present = dump.gather(words(*range(0, 1 << 13, 64), *range(BASE, BASE + (1 << 14), 64)))
        dump.load(0x1000) if present[64] else None
    except MmuError as error:
        assert str(path) in str(error)


def test_an_offset_that_no_file_has(tmp_path: Path) -> None:
    path = tmp_path / "core"
    header = bytearray(b"\x7fELF\x02\x01\x01" + bytes(57))
    struct.pack_into("<HHI", header, 16, 4, 183, 1)
    struct.pack_into("<Q", header, 32, 1 << 63)
    struct.pack_into("<HHH", header, 52, 64, 56, 1)
    path.write_bytes(header + bytes(64))
    with pytest.raises(MmuError, match="damaged ELF file"):
        Dump(path)
