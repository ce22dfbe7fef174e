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
