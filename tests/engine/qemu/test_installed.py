from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import judges
from unikiln.engine.qemu import installed
from unikiln.engine.qemu.devices import USED
from unikiln.errors import HostError

QEMU = "qemu-system-aarch64"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/unikiln"


@pytest.mark.judge(QEMU)
def test_what_qemu_says_of_itself() -> None:
    found = installed.look(installed.find("aarch64"))
    said = judges.run(QEMU, "-version").stdout
    assert f"version {found.version_text}" in said
    assert {"virt", "none"} <= set(found.machines)
    assert {"cortex-a57", "max"} <= set(found.cpus)
    devices = judges.run(QEMU, "-device", "help").stdout
    assert set(found.properties) == {driver for driver in USED if f'name "{driver}"' in devices}
    listed = judges.run(QEMU, "-device", "virtio-blk-pci,help").stdout
    names = {line.partition("=")[0].strip() for line in listed.splitlines()[1:] if "=" in line}
    assert names == set(found.properties["virtio-blk-pci"])


@pytest.mark.judge(QEMU)
def test_it_is_asked_once_until_it_changes(tmp_path: Path, empty_cache: Path) -> None:
    real = judges.find(QEMU)
    program, count = tmp_path / "qemu", tmp_path / "count"
    program.write_text(f'#!/bin/sh\necho >>{count}\nexec {real} "$@"\n')
    program.chmod(0o755)
    first = installed.look(program)
    assert installed.look(program) == first
    assert count.read_text() == "\n"
    os.utime(program, ns=(1, 1))
    assert installed.look(program) == first
    assert count.read_text() == "\n\n"
    (kept,) = empty_cache.iterdir()
    for damage in ("", "[]", "{", '{"stamp": [1]}', kept.read_text().replace("version", "vision")):
        kept.write_text(damage)
        assert installed.look(program) == first


@pytest.mark.judge(QEMU)
def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert installed.look(installed.find("aarch64")).machines


def test_a_missing_qemu_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("QEMU_PATH", raising=False)
    with pytest.raises(HostError, match=r"qemu-system-aarch64 is not installed .*package qemu-system-arm"):
        installed.find("aarch64")
    with pytest.raises(HostError, match=r"qemu-system-x86_64 is not installed .*package qemu-system-x86"):
        installed.find("x86_64")
    with pytest.raises(HostError, match="my-qemu is not installed"):
        installed.find("aarch64", "my-qemu")
    (tmp_path / "my-qemu").touch(0o755)
    assert installed.find("aarch64", "my-qemu") == tmp_path / "my-qemu"
    monkeypatch.setenv("QEMU_PATH", "my-qemu")
    assert installed.find("x86_64") == tmp_path / "my-qemu"


def test_a_program_that_is_no_qemu(tmp_path: Path) -> None:
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho what? >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(HostError, match=r"what?"):
        installed.look(program)
