"""A kernel that takes OSv's command line and says OSv's lines, for what needs no more of OSv than that.

What runs is told by the beginning of a program's name: ``hello``, ``pass``, ``fail`` (status 3), ``echo``,
``keys`` (until ``q``), ``machine`` (memory, processors, PCI devices), ``abort``, ``fault``, ``hang``,
``reset``; any other cannot be loaded.
"""

from __future__ import annotations

from pathlib import Path

from tests import judges
from tests.baremetal.runner import COMPILE, LINK

_HERE = Path(__file__).parent
_FLAGS = {
    "aarch64": ("-mgeneral-regs-only", "-mstrict-align"),
    "x86_64": ("-m32", "-mgeneral-regs-only", "-fno-stack-protector", "-fcf-protection=none"),
}


_SECTOR, _KERNEL_SECTOR = 512, 128
_BOOT_DISK_BYTES = 1 << 20
"""SeaBIOS hangs on a disk of 64 KiB."""
COMPILERS = {"aarch64": "aarch64-linux-gnu-gcc", "x86_64": "x86_64-linux-gnu-gcc"}


def build(arch: str, output: Path) -> Path:
    """The kernel at ``output``: for AArch64 an image like OSv's ``loader.img``, for x86-64 an ELF like
    ``loader.elf``.
    """
    folder = _HERE / arch
    sources = [folder / "start.S", folder / "machine.c", _HERE / "programs.c"]
    flags = [*COMPILE, "-fno-builtin", *LINK, *_FLAGS[arch], "-T", str(folder / "link.ld")]
    judges.run(COMPILERS[arch], *flags, "-o", output, *sources)
    if arch == "aarch64":
        judges.run("aarch64-linux-gnu-objcopy", "-O", "binary", output, output)
    return output


def build_boot_disk(output: Path) -> Path:
    """What an x86-64 disk begins with, like OSv's ``loader.img``: says its command line, powers off."""
    folder = _HERE / "x86_64"
    flags = [*COMPILE, *LINK, *_FLAGS["x86_64"], "-T", str(folder / "boot_sector.ld")]
    judges.run(COMPILERS["x86_64"], *flags, "-o", output, folder / "boot_sector.S")
    judges.run("objcopy", "-O", "binary", output, output)
    assert output.stat().st_size == _SECTOR
    with output.open("r+b") as file:
        file.seek(_KERNEL_SECTOR * _SECTOR)
        file.write(b"the kernel")
        file.truncate(_BOOT_DISK_BYTES)
    return output
