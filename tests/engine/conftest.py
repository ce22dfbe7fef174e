"""The same roots as the machine's tests."""

from tests.machine.conftest import busybox_arm64, install, root

__all__ = ["busybox_arm64", "install", "root"]
