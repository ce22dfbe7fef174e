"""Pools for tests: built by the writer into a bare file, judged by ``zdb``, read back by the reader."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from tests import judges
from unikiln.base.device import FileDevice
from unikiln.image.directory import scan
from unikiln.image.reproducible import settle
from unikiln.zfs.create import CreateOptions, CreateResult, create_pool


def make_pool(source: Path, image: Path, **options: Any) -> CreateResult:  # noqa: ANN401
    """A bare pool at ``image`` with the tree of ``source``; guids are fixed unless told otherwise."""
    image.write_bytes(b"")
    tree = scan(source)
    settle(tree, 1 << 33)
    with FileDevice(image, writable=True) as device:
        return create_pool(device, tree, CreateOptions(**{"seed": 1, "epoch": 1_000_000_000, **options}))


def start_zdb(image: Path, *arguments: str) -> subprocess.Popen[str]:
    """``zdb`` on an exported pool, under way: it spends seconds leaving, so several run side by side."""
    command = [str(judges.find("zdb")), "-e", "-p", os.fspath(image), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def assert_whole(running: subprocess.Popen[str], what: object) -> None:
    """``zdb -bcc`` found every block, every checksum right, and nothing leaked."""
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, f"{what}: zdb exited {running.returncode}\n{output}"
    assert "No leaks (block sum matches space maps exactly)" in output, f"{what}:\n{output}"
    for bad in ("Got error", "mismatch", "leaked space", "double"):
        assert bad not in output, f"{what}:\n{output}"


def zdb(image: Path, *arguments: str) -> str:
    """What ``zdb`` prints; fails if it does."""
    running = start_zdb(image, *arguments)
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output
    return output
