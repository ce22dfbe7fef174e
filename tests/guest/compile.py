"""Guest programs in C, built with the cross compiler when a test asks for them."""

from __future__ import annotations

from pathlib import Path

from tests import judges

HERE = Path(__file__).parent
FLAGS = [
    "-O1",
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-mno-outline-atomics",
    "-Wall",
]


def compile_guest(name: str, output: Path, *flags: str) -> Path:
    """Build ``name``.c of this folder as a static program; the path of the ELF."""
    judges.run("aarch64-linux-gnu-gcc", *FLAGS, *flags, "-o", output, HERE / f"{name}.c")
    return output
