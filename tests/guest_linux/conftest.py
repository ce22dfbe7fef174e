"""Guests that are booted once for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import judges
from tests.guest_linux.guest import Guest, linux_arm64

NEEDED = ("qemu-system-aarch64", "linux-arm64", "busybox-arm64")
"""What the guests of AArch64 need; tests that use them are marked with it."""


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """Linux on a processor that leaves the access flag and the dirty state to software."""
    yield from _boot(tmp_path_factory.mktemp("guest"), "cortex-a57")


@pytest.fixture(scope="session")
def guest_max(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """Linux on a processor with all that QEMU has: it manages both, and has PAN."""
    yield from _boot(tmp_path_factory.mktemp("guest_max"), "max")


@pytest.fixture(params=["guest", "guest_max"])
def either(request: pytest.FixtureRequest) -> Guest:
    """Each of both."""
    found: Guest = request.getfixturevalue(request.param)
    return found


def _boot(folder: Path, cpu: str) -> Iterator[Guest]:
    for program in NEEDED:
        if judges.find(program) is None:
            (pytest.fail if judges.REQUIRED else pytest.skip)(judges.absent(program))
    with linux_arm64(folder, cpu) as running:
        yield running
