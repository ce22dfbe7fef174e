"""Files that are kernels as far as a disk is concerned."""

from __future__ import annotations

from pathlib import Path

BOOT_CODE = bytes(range(1, 17))


def loader_img(path: Path, size: int = 300_000, cmdline: str = "/default") -> Path:
    """As OSv's ``loader.img`` for x86-64: boot code, signature, command line, the kernel from sector 128."""
    image = bytearray(size)
    image[:16] = BOOT_CODE
    image[0x10:0x12] = (4096).to_bytes(2, "little")
    image[0x1B8:0x1BB] = b"VSO"
    image[510:512] = b"\x55\xaa"
    image[512 : 512 + len(cmdline)] = cmdline.encode()
    image[65536:] = b"K" * (size - 65536)
    path.write_bytes(image)
    return path


def arm_image(path: Path) -> Path:
    """As OSv's ``loader.img`` for AArch64: a Linux image's header, without an MBR."""
    image = bytearray(100_000)
    image[56:60] = b"ARM\x64"
    path.write_bytes(image)
    return path
