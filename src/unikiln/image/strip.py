"""Programs and shared objects without symbols and debugging information: stripped copies in their place.

The originals stay as they are. The copies lie in a temporary folder that is removed when no node holds
them any more. What strips is ``$STRIP`` if that is set, else the ``strip`` for the file's architecture, else
``llvm-strip``, which knows them all.
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from unikiln.base.source import chunks, data_ranges, read
from unikiln.base.tree import Node, walk
from unikiln.errors import HostError

_HEADER = 20
_EXECUTABLE, _SHARED = 2, 3
_TRIPLETS = {
    3: "i686-linux-gnu", 21: "powerpc64le-linux-gnu", 22: "s390x-linux-gnu", 40: "arm-linux-gnueabihf",
    62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu", 243: "riscv64-linux-gnu",
}  # fmt: skip
"""GNU's names of architectures, by the ELF header's ``e_machine``."""


def strip_tree(root: Node, warn: Callable[[str], None]) -> None:
    """Replace the content of every program and shared object in ``root`` by a stripped copy of it.

    ``warn`` hears once of each architecture that nothing here can strip, and of each file that cannot be
    stripped; those stay as they are.

    :raises HostError: a file cannot be read, or there is no room for the copies
    """
    unknown: Counter[str] = Counter()
    folder = _Folder()
    work: list[_Job] = []
    for path, node, machine in _objects(root):
        program = _program(machine)
        if program is None:
            unknown[_architecture(machine)] += 1
        else:
            work.append(_Job(program, path, node, os.path.join(folder.path, str(len(work))), folder))
    with ThreadPoolExecutor(os.cpu_count() or 1, "unikiln-strip") as pool:
        for problem in pool.map(_strip, work):
            if problem:
                warn(problem)
    for name, count in sorted(unknown.items()):
        files = "1 file" if count == 1 else f"{count} files"
        warn(f"{files} for {name} left unstripped: there is no {name}-strip and no llvm-strip")


def elf_type(node: Node) -> tuple[int, int] | None:
    """``e_type`` and ``e_machine`` of an ELF file; None of any other."""
    if not node.is_file or node.size < _HEADER:
        return None
    header = read(node.source, 0, _HEADER)
    if header[:4] != b"\x7fELF" or header[5] not in (1, 2):
        return None
    kind, machine = struct.unpack_from("<HH" if header[5] == 1 else ">HH", header, 16)
    return kind, machine


def _objects(root: Node) -> Iterator[tuple[bytes, Node, int]]:
    """(path, node, machine) of every program and shared object, a file of several names once."""
    seen: set[int] = set()
    for path, node in walk(root):
        if id(node) in seen:
            continue
        seen.add(id(node))
        found = elf_type(node)
        if found and found[0] in (_EXECUTABLE, _SHARED):
            yield path, node, found[1]


def _architecture(machine: int) -> str:
    return _TRIPLETS.get(machine, f"ELF machine {machine}")


def _program(machine: int) -> str | None:
    """What strips files for ``machine``."""
    if given := os.environ.get("STRIP"):
        return shutil.which(given)
    triplet = _TRIPLETS.get(machine)
    names = [f"{triplet}-strip", "llvm-strip"] if triplet else ["llvm-strip"]
    if triplet and triplet.partition("-")[0] == platform.machine():
        names.insert(0, "strip")
    return next((found for found in map(shutil.which, names) if found), None)


def _strip(job: _Job) -> str | None:
    """Give a node a stripped copy of what it has; what is wrong, if that cannot be."""
    node, copy = job.node, Path(job.copy)
    if isinstance(node.source, str | bytes):
        command: list[str | bytes] = [job.program, "-o", job.copy, node.source]
    else:
        command = [job.program, _unpack(node, job.copy)]  # in its own place
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not copy.is_file():
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        return f"{os.fsdecode(job.path)} left unstripped: {Path(job.program).name}: {said}"
    node.source = _Copy(job.copy, job.folder)
    node.size = copy.stat().st_size
    return None


def _unpack(node: Node, path: str) -> str:
    """The content of ``node`` as a file of its own."""
    try:
        with Path(path).open("wb") as file:
            file.writelines(chunks(node.source, node.size))
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
    return path


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be stripped by which program, and where the copy goes."""

    program: str
    path: bytes
    node: Node
    copy: str
    folder: _Folder


class _Folder:
    """A temporary folder, which goes with the last that holds this."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="unikiln-strip-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Copy:
    """A stripped copy (:class:`unikiln.base.source.Content`)."""

    name: str
    folder: _Folder

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes of it."""
        return read(self.name, offset, length)

    def data_ranges(self, size: int) -> Iterator[tuple[int, int]]:
        """What of it is no hole."""
        return data_ranges(self.name, size)
