"""Build a bare-metal program, start QEMU with it, and share the guest's RAM with it through a file.

The guest's RAM is a file that both sides map: a test writes what the program shall work on before the start,
and reads what it left after the end. Nothing goes over a serial line.
"""

from __future__ import annotations

import mmap
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tests import judges

COMPILE = ("-ffreestanding", "-fno-pie", "-O2", "-Wall", "-Wextra", "-Werror")
LINK = ("-nostdlib", "-static", "-no-pie", "-Wl,--no-warn-rwx-segments,--build-id=none")
"""How each program here is compiled and linked, whatever its processor."""


def build(compiler: str, folder: Path, output: Path, *flags: str) -> Path:
    """Compile and link every ``.S`` and ``.c`` of ``folder`` by its linker script; the ELF file."""
    sources = sorted([*folder.glob("*.S"), *folder.glob("*.c")])
    (script,) = folder.glob("*.ld")
    judges.run(compiler, *COMPILE, *LINK, *flags, "-T", script, "-o", output, *sources)
    return output


def symbols(program: Path) -> dict[str, int]:
    """The addresses of the program's symbols."""
    with program.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {symbol.name: int(symbol["st_value"]) for symbol in table.iter_symbols() if symbol.name}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of QEMU's: the program, its own arguments, and how much RAM it has."""

    qemu: str
    arguments: tuple[str, ...]
    ram_bytes: int

    def command(self, program: Path, ram: Path) -> list[str]:
        """What starts ``program`` with ``ram`` as the machine's memory; argument 0 is left to the caller."""
        backend = f"memory-backend-file,id=ram,size={self.ram_bytes},mem-path={ram},share=on"
        shared = ("-object", backend, "-machine", "memory-backend=ram", "-m", f"{self.ram_bytes}B")
        return [*self.arguments, *shared, "-nographic", "-nodefaults", "-no-reboot", "-kernel", str(program)]


@contextmanager
def shared_ram(path: Path, size: int) -> Iterator[mmap.mmap]:
    """A guest's RAM, all zeroes, as a sparse file at ``path`` and mapped here."""
    with path.open("w+b") as file:
        file.truncate(size)
        with mmap.mmap(file.fileno(), size) as mapped:
            yield mapped


def run(machine: Machine, program: Path, ram: Path, *, timeout: float, success: Sequence[int] = (0,)) -> None:
    """Run ``program`` until the guest powers off; fails with QEMU's output if it ends otherwise, or hangs.

    ``timeout`` is in seconds. ``success`` are the exit codes that mean a guest powered itself off.
    """
    qemu = judges.find(machine.qemu)
    assert qemu is not None, judges.absent(machine.qemu)
    command = [str(qemu), *machine.command(program, ram)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired as expired:
        raise AssertionError(f"the guest did not end within {timeout} s: {' '.join(command)}") from expired
    assert done.returncode in success, f"QEMU exited {done.returncode}:\n{done.stdout}{done.stderr}"
