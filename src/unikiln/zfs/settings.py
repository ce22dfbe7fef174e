"""Which value of a property holds for a dataset, and where it comes from: set, received, inherited, default.

What a dataset sets lies in a ZAP of its directory; what it does not set it has from the nearest above it
that does, if the property is one that is inherited (dsl_prop.c, zfs_prop.c).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from unikiln.zfs.dsl import Datasets
from unikiln.zfs.format.dsl import DslDataset, DslDir
from unikiln.zfs.format.zap import Entry
from unikiln.zfs.properties import exact_value
from unikiln.zfs.zap import Zap


class Property(NamedTuple):
    """A value in the words and exact numbers of ``zfs get -p``.

    ``source`` is ``local``, ``received``, ``inherited from NAME``, ``default``, or ``-`` for what is counted.
    """

    value: str
    source: str


class Subject(Protocol):
    """A dataset, as far as its properties ask."""

    name: str
    object: int

    @property
    def phys(self) -> DslDataset: ...  # noqa: D102
    @property
    def directory(self) -> DslDir: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def is_snapshot(self) -> bool: ...  # noqa: D102


class Native(NamedTuple):
    """A property that ZFS knows: its default, whether it is inherited, and what has it.

    ``owners`` are the letters of ``filesystem``, ``volume`` and ``snapshot``.
    """

    default: str
    inherited: bool
    owners: str


_ON, _OFF = "on", "off"
NATIVE: Mapping[str, Native] = {
    "aclinherit": Native("restricted", True, "f"),
    "aclmode": Native("discard", True, "f"),
    "acltype": Native(_OFF, True, "fs"),
    "atime": Native(_ON, True, "f"),
    "canmount": Native(_ON, False, "f"),
    "checksum": Native(_ON, True, "fv"),
    "compression": Native(_ON, True, "fv"),
    "context": Native("none", False, "fvs"),
    "copies": Native("1", True, "fv"),
    "dedup": Native(_OFF, True, "fv"),
    "defcontext": Native("none", False, "fvs"),
    "devices": Native(_ON, True, "fs"),
    "direct": Native("standard", True, "f"),
    "dnodesize": Native("legacy", True, "f"),
    "exec": Native(_ON, True, "fs"),
    "filesystem_limit": Native("none", False, "f"),
    "fscontext": Native("none", False, "fvs"),
    "keyformat": Native("none", False, "fv"),
    "keylocation": Native("none", False, "fv"),
    "logbias": Native("latency", True, "fv"),
    "longname": Native(_OFF, True, "f"),
    "mlslabel": Native("none", True, "fvs"),
    "mountpoint": Native("/", True, "f"),
    "nbmand": Native(_OFF, True, "fs"),
    "overlay": Native(_ON, True, "f"),
    "pbkdf2iters": Native("0", False, "fv"),
    "prefetch": Native("all", True, "fvs"),
    "primarycache": Native("all", True, "fvs"),
    "quota": Native("0", False, "f"),
    "readonly": Native(_OFF, True, "fv"),
    "recordsize": Native("131072", True, "f"),
    "redundant_metadata": Native("all", True, "fv"),
    "refquota": Native("0", False, "f"),
    "refreservation": Native("0", False, "fv"),
    "relatime": Native(_ON, True, "f"),
    "reservation": Native("0", False, "fv"),
    "rootcontext": Native("none", False, "fvs"),
    "secondarycache": Native("all", True, "fvs"),
    "setuid": Native(_ON, True, "fs"),
    "sharenfs": Native(_OFF, True, "f"),
    "sharesmb": Native(_OFF, True, "f"),
    "snapdev": Native("hidden", True, "fv"),
    "snapdir": Native("hidden", True, "f"),
    "snapshot_limit": Native("none", False, "fv"),
    "special_small_blocks": Native("0", True, "f"),
    "sync": Native("standard", True, "fv"),
    "volmode": Native("default", True, "fv"),
    "volthreading": Native(_ON, False, "v"),
    "vscan": Native(_OFF, True, "f"),
    "xattr": Native("sa", True, "fs"),
    "zoned": Native(_OFF, True, "f"),
}
"""Those that can be set, with the defaults of OpenZFS 2.3 on Linux."""
_RECEIVED, _INHERIT = "$recvd", "$inherit"
_UNKNOWN_THEN = "$iuv"
_NOT_A_PATH = ("none", "legacy", "-")


class _Place(NamedTuple):
    """A ZAP of properties on the way up, and the name of what has it."""

    name: str
    entries: Mapping[str, Entry]


def effective(datasets: Datasets, subject: Subject) -> dict[str, Property]:
    """The settable and user properties that hold for ``subject``."""
    places = list(_places(datasets, subject))
    owners = {subject.kind[0], "s"} if subject.is_snapshot else {subject.kind[0]}
    names = {name for name, native in NATIVE.items() if owners <= set(native.owners)}
    names |= {_plain(name) for place in places for name in place.entries if ":" in name}
    found = {name: _lookup(name, places, subject) for name in names}
    return {name: each for name, each in found.items() if each is not None}


def _plain(name: str) -> str:
    return name.partition("$")[0]


def _places(datasets: Datasets, subject: Subject) -> Iterator[_Place]:
    """Where to look, nearest first: the snapshot itself, its file system or volume, and all above that."""
    base = subject.name.partition("@")[0]
    if subject.is_snapshot:
        yield _Place(subject.name, _entries(datasets, subject.phys.props_obj))
    directory: DslDir | None = subject.directory
    while directory is not None:
        yield _Place(base, _entries(datasets, directory.props_zapobj))
        base = base.rpartition("/")[0]
        directory = datasets.directory(directory.parent_obj) if directory.parent_obj and base else None


def _entries(datasets: Datasets, number: int) -> dict[str, Entry]:
    if not number:
        return {}
    return {os.fsdecode(entry.name): entry for entry in Zap(datasets.mos.object(number)).entries()}


def _lookup(name: str, places: list[_Place], subject: Subject) -> Property | None:
    """The value of ``name`` (``dsl_prop_get_ds``); None for a user property that nothing in reach sets."""
    native = NATIVE.get(name)
    inherited = native is None or native.inherited
    for place in places:
        here = place.name == subject.name
        entry = None
        if here or inherited:
            entry = place.entries.get(name + _UNKNOWN_THEN) or place.entries.get(name)
        received = None
        if entry is None and (here or inherited) and name + _INHERIT not in place.entries:
            received = place.entries.get(name + _RECEIVED)
        stated = entry or received
        if stated is not None:
            value = _under(name, exact_value(name, stated), place.name, subject.name)
            source = "received" if received else "local"
            return Property(value, source if here else f"inherited from {place.name}")
    if native is None:
        return None
    return Property(f"/{subject.name}" if name == "mountpoint" else native.default, "default")


def _under(name: str, value: str, setter: str, dataset: str) -> str:
    """A mount point goes on below the one that it is inherited from."""
    if name != "mountpoint" or value in _NOT_A_PATH or setter == dataset:
        return value
    return value.rstrip("/") + dataset[len(setter) :]
