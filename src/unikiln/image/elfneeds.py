"""Which shared objects a program needs, and where they are: what ``ld.so`` would load, without running it.

The files may be of any architecture, and of another root directory than this host's. A name is looked for
as ``ld.so(8)`` of glibc does: in ``DT_RPATH`` of the object and of those that brought it, unless it has
``DT_RUNPATH``, which is for its own needs only; in the directories of ``/etc/ld.so.conf``; in the standard
directories. Objects of another architecture or class are passed over. What a program loads by itself with
``dlopen`` nobody can see.
"""

# paths are joined as ld.so joins them, in a root of their own
# ruff: noqa: PTH100, PTH110, PTH113, PTH114, PTH115, PTH120, PTH207

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unikiln.errors import HostError, ImageError, ManifestError

_TRIPLETS = {
    "EM_AARCH64": "aarch64-linux-gnu", "EM_ARM": "arm-linux-gnueabihf", "EM_386": "i386-linux-gnu",
    "EM_X86_64": "x86_64-linux-gnu", "EM_RISCV": "riscv64-linux-gnu", "EM_S390": "s390x-linux-gnu",
    "EM_PPC64": "powerpc64le-linux-gnu",
}  # fmt: skip
"""Debian's directories of libraries, by architecture."""

_MOST_LINKS = 40
_PROGRAMS = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
_CACHE = "/etc/ld.so.cache"


@dataclass(frozen=True, slots=True)
class ElfObject:
    """What the dynamic linker reads of a file; ``kind`` tells architecture, class and byte order."""

    kind: tuple[str, int, bool]
    interpreter: str | None
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    soname: str | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that is needed: ``guest`` is its path in the image, ``host`` the file's here; both absolute."""

    guest: str
    host: str


@dataclass(frozen=True, slots=True)
class _Folder:
    """A directory to look in: what it is called in the image, and where it is here."""

    guest: str
    host: str


@dataclass(frozen=True, slots=True)
class _Object:
    """An object that is loaded, and those that brought it, nearest first: their RPATHs count for it."""

    file: Loaded
    elf: ElfObject
    rpaths: tuple[_Folder, ...]


def read_elf(path: str) -> ElfObject:
    """What the dynamic linker reads of the file ``path``.

    :raises HostError: it cannot be read
    :raises ImageError: it is no ELF file, or a damaged one
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with Path(path).open("rb") as stream:
            return _describe(ELFFile(stream))
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
    except ELFError as error:
        raise ImageError(f"{path}: no ELF file: {error}") from error
    except (ValueError, LookupError, AttributeError, TypeError, AssertionError, OverflowError) as error:
        raise ImageError(f"{path}: a damaged ELF file: {error}") from error


class Needs:
    """Finds what programs need in the root directory ``root``; they go to the image's directory ``at``."""

    def __init__(self, root: str = "/", at: str = "/", extra: Iterable[str] = ()) -> None:
        self._root = os.path.abspath(root)
        self._at = os.path.normpath("/" + at.lstrip("/"))
        self._extra = [_Folder(each, each) for each in map(os.path.abspath, extra)]
        self._found: dict[str, Loaded] = {}
        self._by_name: dict[tuple[str, tuple[str, int, bool]], _Object] = {}
        self._queue: list[_Object] = []
        self._missing: dict[str, list[str]] = {}
        self._from_conf = False

    def add(self, program: str) -> None:
        """Add the program or shared object ``program``: a path, or a name to look for as a shell does.

        :raises HostError: there is none
        :raises ImageError: it is no ELF file
        """
        host = self._locate_program(program)
        elf = read_elf(host)
        guest = os.path.join(self._at, os.path.basename(program))
        self._load(Loaded(guest, host), elf, (), elf.soname or os.path.basename(program))
        if elf.interpreter:
            self._add_interpreter(elf, program)

    def resolve(self) -> list[Loaded]:
        """The programs and all that they need, the programs first.

        :raises ManifestError: names every one that is not there, and who needs it
        """
        while self._queue:
            user = self._queue.pop(0)
            for name in user.elf.needed:
                if (name, user.elf.kind) not in self._by_name and not self._find(name, user):
                    self._missing.setdefault(name, []).append(user.file.guest)
        if self._missing:
            problems = tuple(
                f"{name} is missing, which {users[0]} needs" for name, users in self._missing.items()
            )
            raise ManifestError(
                "; ".join(problems), hint="--root names another root directory, -L one more to look in",
                problems=problems,
            )  # fmt: skip
        cache = self._in_root(_CACHE)
        if self._from_conf and os.path.isfile(cache):
            self._found[_CACHE] = Loaded(_CACHE, cache)
        return list(self._found.values())

    def _locate_program(self, program: str) -> str:
        if "/" in program or os.path.isfile(program):
            path = os.path.abspath(program)
            if not os.path.exists(path) and self._root != "/":
                path = self._in_root(program)
            return path
        for folder in os.get_exec_path() if self._root == "/" else _PROGRAMS:
            path = self._in_root(os.path.join(folder, program))
            if os.path.isfile(path):
                return path
        raise HostError(f"{program}: no such program", hint="give its path")

    def _add_interpreter(self, elf: ElfObject, program: str) -> None:
        guest = elf.interpreter or ""
        host = self._in_root(guest)
        for folder in (os.path.dirname(host), *(each.host for each in self._standard(elf))):
            path = self._inside(os.path.join(folder, os.path.basename(guest)))
            found = read_elf(path) if os.path.isfile(path) else None
            if found and found.kind == elf.kind:
                self._load(Loaded(guest, path), found, (), found.soname or os.path.basename(guest))
                return
        self._missing.setdefault(guest, []).append(program)

    def _load(self, file: Loaded, elf: ElfObject, above: tuple[_Folder, ...], name: str) -> None:
        known = self._by_name.get((name, elf.kind))
        if known is not None:
            self._found.setdefault(file.guest, file)
            return
        own = () if elf.runpath else tuple(self._expand(elf.rpath, file, elf))
        loaded = _Object(file, elf, own + above)
        self._by_name[name, elf.kind] = loaded
        if elf.soname:
            self._by_name.setdefault((elf.soname, elf.kind), loaded)
        self._found.setdefault(file.guest, file)
        self._queue.append(loaded)

    def _find(self, name: str, user: _Object) -> bool:
        """Load the object ``name`` for ``user``; whether it is there."""
        if "/" in name:
            folders = [_Folder(*(os.path.dirname(path) for path in (name, self._in_root(name))))]
        else:
            folders = list(self._search(user))
        for folder in folders:
            host = self._inside(os.path.join(folder.host, os.path.basename(name)))
            if not os.path.isfile(host):
                continue
            try:
                elf = read_elf(host)
            except ImageError:  # a linker script, or what ld.so too would pass over
                continue
            if elf.kind == user.elf.kind:
                guest = os.path.normpath(os.path.join(folder.guest, os.path.basename(name)))
                self._from_conf |= folder in self._configured and folder not in self._standard(elf)
                self._load(Loaded(guest, host), elf, user.rpaths, name)
                return True
        return False

    def _search(self, user: _Object) -> Iterator[_Folder]:
        """Where ``ld.so`` looks for what ``user`` needs, in its order."""
        if user.elf.runpath:
            yield from self._extra
            yield from self._expand(user.elf.runpath, user.file, user.elf)
        else:
            yield from user.rpaths
            yield from self._extra
        standard = self._standard(user.elf)
        yield from (folder for folder in self._configured if folder not in standard)
        yield from standard

    def _expand(self, paths: Iterable[str], file: Loaded, elf: ElfObject) -> Iterator[_Folder]:
        """Directories of an RPATH or RUNPATH; ``$ORIGIN`` is where the object is, here and in the image."""
        library = "lib64" if elf.kind[1] == 64 else "lib"
        for path in paths:
            path = path.replace("${LIB}", library).replace("$LIB", library).replace("${ORIGIN}", "$ORIGIN")
            if path.startswith("$ORIGIN"):
                rest = path.removeprefix("$ORIGIN")
                guest, host = os.path.dirname(file.guest), os.path.dirname(file.host)
                yield _Folder(os.path.normpath(guest + rest), os.path.normpath(host + rest))
            elif path.startswith("/"):
                yield _Folder(os.path.normpath(path), self._in_root(path))

    def _standard(self, elf: ElfObject) -> list[_Folder]:
        """The directories that ``ld.so`` itself knows, and those of Debian's cross compilers."""
        triplet = _TRIPLETS.get(elf.kind[0])
        names = [f"/lib/{triplet}", f"/usr/lib/{triplet}"] if triplet else []
        names += ["/lib64", "/usr/lib64"] if elf.kind[1] == 64 else ["/lib32", "/usr/lib32"]
        names += ["/lib", "/usr/lib"]
        folders = [_Folder(name, self._in_root(name)) for name in names]
        return [*folders, _Folder("/lib", self._in_root(f"/usr/{triplet}/lib"))]

    @cached_property
    def _configured(self) -> list[_Folder]:
        return [_Folder(name, self._in_root(name)) for name in self._read_conf("/etc/ld.so.conf", set())]

    def _read_conf(self, name: str, seen: set[str]) -> list[str]:
        """The directories that a file like ``/etc/ld.so.conf`` lists, and those that it includes."""
        path = self._in_root(name)
        if path in seen or not os.path.isfile(path):
            return []
        seen.add(path)
        found = []
        for line in Path(path).read_text("utf-8", "surrogateescape").splitlines():
            words = line.partition("#")[0].split()
            if words[:1] == ["include"]:
                for pattern in words[1:]:
                    whole = self._root.rstrip("/") + os.path.join(os.path.dirname(name), pattern)
                    for each in sorted(glob.glob(whole)):
                        found += self._read_conf("/" + os.path.relpath(each, self._root), seen)
            elif words and words[0] != "hwcap":
                found += words[:1]
        return found

    def _in_root(self, path: str) -> str:
        """Where ``path`` of the root directory is here; no link on the way leads out of it."""
        if self._root == "/":
            return os.path.normpath("/" + path.lstrip("/"))
        names, where, links = path.split("/")[::-1], self._root, 0
        while names:
            name = names.pop()
            if name == "..":
                where = os.path.dirname(where) if where != self._root else where
                continue
            here = os.path.join(where, name) if name not in ("", ".") else where
            if here == where or not os.path.islink(here) or links == _MOST_LINKS:
                where = here
                continue
            links += 1
            target = os.readlink(here)
            where = self._root if target.startswith("/") else where
            names += target.split("/")[::-1]
        return where

    def _inside(self, path: str) -> str:
        """The host path ``path`` after links, which stay in the root directory if it is below that."""
        below = os.path.relpath(path, self._root)
        return path if below.startswith("..") else self._in_root(below)


def _describe(elf: Any) -> ElfObject:  # noqa: ANN401
    """What ``elf``, an ``ELFFile``, says."""
    if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
        raise ValueError("neither a program nor a shared object")
    kind = (str(elf["e_machine"]), int(elf.elfclass), bool(elf.little_endian))
    interpreter, tags = None, []
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_INTERP":
            interpreter = str(segment.get_interp_name())
        elif segment["p_type"] == "PT_DYNAMIC":
            tags = list(segment.iter_tags())

    def values(tag: str, field: str) -> tuple[str, ...]:
        return tuple(str(getattr(each, field)) for each in tags if each.entry.d_tag == tag)

    def folders(tag: str, field: str) -> tuple[str, ...]:
        return tuple(path for value in values(tag, field) for path in value.split(":") if path)

    soname = values("DT_SONAME", "soname")
    return ElfObject(
        kind, interpreter, values("DT_NEEDED", "needed"), folders("DT_RPATH", "rpath"),
        folders("DT_RUNPATH", "runpath"), soname[0] if soname else None,
    )  # fmt: skip
