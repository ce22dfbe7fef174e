"""What is counted about datasets and cannot be set, under the names of ``zfs get``: space, births, kin.

Sizes in bytes, times in seconds since 1970 (``dsl_dataset_stats`` and ``dsl_dir_stats``).
"""

from __future__ import annotations

from collections.abc import Iterator

from unikiln.errors import CorruptError, EncryptionKeyError
from unikiln.zfs.dsl import Datasets
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.format.dsl import (
    DD_FLAG_USED_BREAKDOWN,
    DS_FLAG_INCONSISTENT,
    Bpobj,
    Deadlist,
    DslDataset,
    DslDir,
)
from unikiln.zfs.kin import clones_of, extension, extension_words, origin_of
from unikiln.zfs.objset import ObjectSet
from unikiln.zfs.settings import Property, Subject, effective
from unikiln.zfs.zap import read_zap

_MASTER_NODE = 1
_VOLUME_DATA, _VOLUME_PROPERTIES = 1, 2
_DEFER_DESTROY = 1 << 3
_FORMS = {0: "none", 0x10: "formD", 0x50: "formC", 0x20: "formKD", 0x60: "formKC"}
_CASES = {0: "sensitive", 1: "insensitive", 2: "mixed"}
_COUNTS = {
    "filesystem_count": b"com.joyent:filesystem_count",
    "snapshot_count": b"com.joyent:snapshot_count",
}
_DEFAULT_VOLUME_BLOCK = 16384
_SNAPSHOTS_CHANGED = b"com.ixsystems:snapshots_changed"
_REDACTED = b"com.delphix:redacted_datasets"


def statistics(datasets: Datasets, subject: Subject) -> dict[str, Property]:
    """All that is counted about ``subject``, by name."""
    found = dict(_common(datasets, subject))
    found.update(_of_snapshot(datasets, subject) if subject.is_snapshot else _of_head(datasets, subject))
    found.update(_of_contents(datasets, subject))
    counted = {name: Property(str(value), _source(name, value)) for name, value in found.items()}
    return {**counted, **_encryption(datasets, subject), **_limits(datasets, subject)}


def _source(name: str, value: object) -> str:
    """What ``zfs get`` shows as the source of two that were chosen once; the others have none."""
    if name == "volsize":
        return "local"
    return "default" if name == "volblocksize" and value == _DEFAULT_VOLUME_BLOCK else "-"


def _common(datasets: Datasets, subject: Subject) -> Iterator[tuple[str, object]]:
    phys = subject.phys
    yield "type", "snapshot" if subject.is_snapshot else subject.kind
    yield "creation", phys.creation_time
    yield "createtxg", phys.creation_txg
    yield "guid", phys.guid
    yield "objsetid", subject.object
    yield "referenced", phys.referenced_bytes
    yield "logicalreferenced", phys.uncompressed_bytes
    yield "refcompressratio", ratio(phys.uncompressed_bytes, phys.compressed_bytes)
    if phys.prev_snap_obj:
        yield "written", written(datasets, phys)
    redacted = extension_words(datasets, subject.object, _REDACTED)
    if redacted is not None:
        yield "redact_snaps", ",".join(map(str, redacted))


def ratio(logical: int, physical: int) -> str:
    """How many times smaller something became, to two places."""
    hundredths = logical * 100 // physical if physical else 100
    return f"{hundredths // 100}.{hundredths % 100:02}"


def written(datasets: Datasets, phys: DslDataset) -> int:
    """Bytes that were written since the snapshot before (``dsl_dataset_space_written``)."""
    before = datasets.dataset(phys.prev_snap_obj)
    return phys.referenced_bytes - before.referenced_bytes + _dead(datasets, phys.deadlist_obj)


def _dead(datasets: Datasets, number: int) -> int:
    """Bytes of the blocks on a dead list."""
    dn = datasets.mos.dnode(number)
    if dn.bonus_type == ObjectType.DEADLIST_HDR:
        return Deadlist.unpack(dn.bonus).used
    return Bpobj.unpack(dn.bonus).bytes


def _of_snapshot(datasets: Datasets, subject: Subject) -> Iterator[tuple[str, object]]:
    phys = subject.phys
    yield "used", phys.unique_bytes
    yield "compressratio", ratio(phys.uncompressed_bytes, phys.compressed_bytes)
    yield "userrefs", len(read_zap(datasets.mos, phys.userrefs_obj)) if phys.userrefs_obj else 0
    yield "defer_destroy", "on" if phys.flags & _DEFER_DESTROY else "off"
    clones = clones_of(datasets, phys)
    if clones:
        yield "clones", ",".join(clones)


def _of_head(datasets: Datasets, subject: Subject) -> Iterator[tuple[str, object]]:
    directory = subject.directory
    yield "used", directory.used_bytes
    yield "available", available(datasets, subject)
    yield "logicalused", directory.uncompressed_bytes
    yield "compressratio", ratio(directory.uncompressed_bytes, directory.compressed_bytes)
    origin = origin_of(datasets, directory.origin_obj)
    if origin is not None:
        yield "origin", origin
    if directory.flags & DD_FLAG_USED_BREAKDOWN:
        yield from _breakdown(directory)
    changed = extension_words(datasets, subject.phys.dir_obj, _SNAPSHOTS_CHANGED)
    if changed:
        yield "snapshots_changed", changed[0]


def available(datasets: Datasets, subject: Subject) -> int:
    """Bytes that may still be written to a dataset (``dsl_dataset_space``)."""
    space = next(each.available for each in datasets.directories() if each.name == subject.name)
    settings = effective(datasets, subject)
    reserved, quota = (
        int(settings[name].value) if name in settings else 0 for name in ("refreservation", "refquota")
    )
    space += max(0, reserved - subject.phys.unique_bytes)
    return min(space, max(0, quota - subject.phys.referenced_bytes)) if quota else space


def _breakdown(directory: DslDir) -> Iterator[tuple[str, object]]:
    yield "usedbydataset", directory.used_head
    yield "usedbysnapshots", directory.used_snap
    yield "usedbychildren", directory.used_child + directory.used_child_reserved
    yield "usedbyrefreservation", directory.used_refreservation


def _of_contents(datasets: Datasets, subject: Subject) -> Iterator[tuple[str, object]]:
    """What the file system or the volume says of itself; nothing if it is encrypted or only half received."""
    if subject.phys.flags & DS_FLAG_INCONSISTENT:
        return
    try:
        objset = datasets.object_set(subject.object, subject.name)
        if subject.kind == "filesystem":
            yield from _of_files(objset)
        elif subject.kind == "volume":
            yield from _of_volume(objset, snapshot=subject.is_snapshot)
    except (CorruptError, EncryptionKeyError):
        return


def _of_files(objset: ObjectSet) -> Iterator[tuple[str, object]]:
    master = read_zap(objset, _MASTER_NODE)
    yield "version", master.get(b"VERSION", 0)
    yield "utf8only", "on" if master.get(b"utf8only") else "off"
    yield "normalization", _FORMS.get(master.get(b"normalization", 0), "none")
    yield "casesensitivity", _CASES.get(master.get(b"casesensitivity", 0), "sensitive")


def _of_volume(objset: ObjectSet, *, snapshot: bool) -> Iterator[tuple[str, object]]:
    yield "volsize", read_zap(objset, _VOLUME_PROPERTIES).get(b"size", 0)
    if not snapshot:
        yield "volblocksize", objset.object(_VOLUME_DATA).block_size


def _limits(datasets: Datasets, subject: Subject) -> dict[str, Property]:
    """Counts of what is below, which a pool keeps once a limit was set anywhere."""
    if subject.is_snapshot:
        return {}
    counts = extension(datasets, subject.phys.dir_obj)
    found: dict[str, Property] = {}
    for name, key in _COUNTS.items():
        if name == "filesystem_count" and subject.kind != "filesystem":
            continue
        counted = counts.get(key)
        found[name] = Property("none", "default") if counted is None else Property(str(counted), "local")
    return found


def _encryption(datasets: Datasets, subject: Subject) -> dict[str, Property]:
    key = datasets.keys.wrapped(subject.phys.dir_obj)
    if key is None:
        return {"encryption": Property("off", "default")}
    found = {
        "encryption": key.suite.title,
        "encryptionroot": datasets.keys.root_of(subject.phys.dir_obj),
        "keystatus": datasets.keys.status(subject.phys.dir_obj),
    }
    if not subject.is_snapshot:
        found["keyformat"] = key.format.name.lower()
        found.update({"pbkdf2iters": str(key.iterations)} if key.iterations else {})
    return {name: Property(value, "-") for name, value in found.items()}
