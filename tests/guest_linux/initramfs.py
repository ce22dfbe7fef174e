"""The archive that Linux unpacks as its first file system."""

from __future__ import annotations

from unikiln.image.cpio.newc import Header, padding, trailer

_DIRECTORY, _PROGRAM, _DEVICE = 0o40755, 0o100755, 0o20600
_NODES = {"dev/console": (5, 1), "dev/null": (1, 3)}
"""What a shell needs (Linux, Documentation/admin-guide/devices.txt)."""


def initramfs(programs: dict[str, bytes]) -> bytes:
    """An archive with these programs in the root, and few devices."""
    archive = Header(b"dev", _DIRECTORY).pack()
    for name, numbers in _NODES.items():
        archive += Header(name.encode(), _DEVICE, rdevice=numbers).pack()
    for name, content in programs.items():
        archive += Header(name.encode(), _PROGRAM, size=len(content)).pack()
        archive += content + padding(len(content))
    return archive + trailer()
