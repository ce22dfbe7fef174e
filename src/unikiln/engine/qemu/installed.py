"""What the QEMU on this host can do: its version, machines, processors, devices and their properties.

One short start with an empty machine tells all of it over QMP; the answer is kept in the user's cache until
the program changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unikiln.engine.qemu.devices import USED
from unikiln.errors import HostError

if TYPE_CHECKING:
    from unikiln.base.qmp import Qmp

PACKAGES = {"aarch64": "qemu-system-arm", "x86_64": "qemu-system-x86"}
"""Debian's package of each ``qemu-system-ARCH``."""

_CACHE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Installed:
    """A QEMU. ``properties`` has those of each device that unikiln uses and this QEMU has."""

    program: str
    version: list[int]
    machines: list[str]
    cpus: list[str]
    properties: dict[str, list[str]]

    @property
    def version_text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def find(arch: str, given: str | None = None) -> Path:
    """The program for ``arch``: ``given``, or ``QEMU_PATH`` of the environment, or what is in ``PATH``.

    :raises HostError: there is none; the message names the package
    """
    wanted = given or os.environ.get("QEMU_PATH") or f"qemu-system-{arch}"
    found = shutil.which(wanted)
    if found is None:
        raise HostError(f"{wanted} is not installed", hint=f"Debian has it in the package {PACKAGES[arch]}")
    return Path(found)


def look(program: Path) -> Installed:
    """What ``program`` can do, from the cache if it has not changed since.

    :raises HostError: it does not run
    """
    stamp = _stamp(program)
    kept = _cache_file(program)
    known = _read(kept, stamp)
    if known is None:
        known = _ask(program)
        _write(kept, stamp, known)
    return known


def _ask(program: Path) -> Installed:
    from unikiln.engine.qemu.guest import Guest

    command = [str(program), "-machine", "none", "-nodefaults", "-display", "none"]
    with Guest(command) as guest:
        return _questions(program, guest.qmp)


def _questions(program: Path, qmp: Qmp) -> Installed:
    version = qmp.execute("query-version")["qemu"]
    types = _names(qmp.execute("qom-list-types", implements="device"))
    return Installed(
        program=str(program),
        version=[version["major"], version["minor"], version["micro"]],
        machines=sorted(_machines(qmp.execute("query-machines"))),
        cpus=sorted(_names(qmp.execute("query-cpu-definitions"))),
        properties={
            driver: sorted(_names(qmp.execute("device-list-properties", typename=driver)))
            for driver in USED
            if driver in types
        },
    )


def _names(answer: Iterable[dict[str, Any]]) -> set[str]:
    return {each["name"] for each in answer}


def _machines(answer: Iterable[dict[str, Any]]) -> set[str]:
    return {name for each in answer for name in (each["name"], each.get("alias")) if name}


def _stamp(program: Path) -> list[int]:
    found = program.stat()
    return [_CACHE_FORMAT, found.st_size, found.st_mtime_ns]


def _cache_file(program: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    name = hashlib.sha256(os.fsencode(program.resolve())).hexdigest()[:16]
    return Path(base) / "unikiln" / f"qemu-{name}.json"


def _read(path: Path, stamp: list[int]) -> Installed | None:
    try:
        kept = json.loads(path.read_text())
        if kept["stamp"] != stamp:
            return None
        return Installed(**kept["qemu"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or one of another version: ask again
        return None


def _write(path: Path, stamp: list[int], known: Installed) -> None:
    """Keep the answer; a host where that cannot be is only slower."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps({"stamp": stamp, "qemu": asdict(known)}))
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
