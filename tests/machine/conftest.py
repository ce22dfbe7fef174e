"""Programs that run: a directory as root file system, an engine, what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import judges

DATA_PAGES = 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The directory that the guest sees as ``/``; ``/data`` is 40 pages that all differ."""
    top = tmp_path / "root"
    top.mkdir()
    (top / "data").write_bytes(b"".join(bytes([n % 251 + 1]) * 4096 for n in range(DATA_PAGES)))
    return top


@pytest.fixture
def busybox_arm64() -> Path:
    """Debian's static busybox for arm64."""
    path = judges.find("busybox-arm64")
    assert path is not None
    return path


@pytest.fixture
def install(root: Path) -> Callable[[str, bytes], None]:
    """Put a program into the root."""

    def put(name: str, content: bytes) -> None:
        (root / name).write_bytes(content)
        (root / name).chmod(0o755)

    return put
