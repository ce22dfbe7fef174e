"""The stand-in kernels, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import judges
from tests.osv_like.kernel import COMPILERS, build


@pytest.fixture(scope="session")
def arm_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built("aarch64", tmp_path_factory)


@pytest.fixture(scope="session")
def x86_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built("x86_64", tmp_path_factory)


def _built(arch: str, factory: pytest.TempPathFactory) -> Path:
    if judges.find(COMPILERS[arch]) is None:
        pytest.skip(judges.absent(COMPILERS[arch]))
    return build(arch, factory.mktemp("kernel") / f"loader.{'img' if arch == 'aarch64' else 'elf'}")
