"""What datasets are to each other, by name, and what newer features have added to their records.

A dataset's record says object numbers only; names come from the directories above it. Features keep their
own fields in a ZAP that is the same object as the record (``dsl_dataset_zapify``).
"""

from __future__ import annotations

import os

from unikiln.errors import CorruptError
from unikiln.zfs.dsl import Datasets
from unikiln.zfs.format.dmu import ZAP_METADATA
from unikiln.zfs.format.dsl import DslDataset
from unikiln.zfs.zap import Zap, read_zap

_MAX_DEPTH = 64


def extension(datasets: Datasets, number: int) -> dict[bytes, int]:
    """What features added to the dataset or DSL directory that is object ``number``: first values by name."""
    obj = datasets.mos.object(number)
    return dict(Zap(obj).numbers()) if obj.type == ZAP_METADATA else {}


def extension_words(datasets: Datasets, number: int, name: bytes) -> tuple[int, ...] | None:
    """All values of one such field; None if it is not there."""
    obj = datasets.mos.object(number)
    entry = Zap(obj).entry(name) if obj.type == ZAP_METADATA else None
    return None if entry is None else entry.values


def directory_name(datasets: Datasets, number: int) -> str:
    """The full name of the DSL directory that is object ``number``.

    :raises CorruptError: its parents do not know it, or lead nowhere
    """
    parts: list[str] = []
    for _ in range(_MAX_DEPTH):
        parent = datasets.directory(number).parent_obj
        if not parent:
            return "/".join([datasets.pool_name, *reversed(parts)])
        parts.append(_name_in(read_zap(datasets.mos, datasets.directory(parent).child_dir_zapobj), number))
        number = parent
    raise CorruptError(f"DSL directory {number} has more than {_MAX_DEPTH} above it")


def dataset_name(datasets: Datasets, number: int) -> str:
    """The full name of the dataset or snapshot that is object ``number``.

    :raises CorruptError: its directory does not know it
    """
    phys = datasets.dataset(number)
    name = directory_name(datasets, phys.dir_obj)
    if phys.num_children == 0:
        return name
    head = datasets.dataset(datasets.directory(phys.dir_obj).head_dataset_obj)
    return f"{name}@{_name_in(read_zap(datasets.mos, head.snapnames_zapobj), number)}"


def _name_in(listed: dict[bytes, int], number: int) -> str:
    for name, listed_number in listed.items():
        if listed_number == number:
            return os.fsdecode(name)
    raise CorruptError(f"object {number} of the meta object set has no name where it should")


def origin_of(datasets: Datasets, origin: int) -> str | None:
    """The name of the snapshot that is object ``origin``; None for none or the hidden first one."""
    name = dataset_name(datasets, origin) if origin else None
    return None if name is None or "/$ORIGIN@" in name else name


def clones_of(datasets: Datasets, phys: DslDataset) -> list[str]:
    """Names of the clones of a snapshot."""
    if not phys.next_clones_obj:
        return []
    following = read_zap(datasets.mos, phys.next_clones_obj).values()
    return sorted(directory_name(datasets, datasets.dataset(number).dir_obj) for number in following)
