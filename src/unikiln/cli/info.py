"""``unikiln info``: an image's partitions and command line; a pool's labels, devices, datasets and space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from unikiln.base.size import format_size
from unikiln.cli.common import ImageArgument, JsonOption, OpenImage, opened_image
from unikiln.cli.keys import KeyOption
from unikiln.cli.listing import aligned, time_text
from unikiln.cli.output import print_json, printable

if TYPE_CHECKING:
    from unikiln.zfs.pool import Pool

_VDEV_FIELDS = ("id", "guid", "type", "path", "ashift", "asize", "metaslab_shift", "is_log")
_NAMES = {"zfs": "the pool", "rofs": "the ROFS", "ramfs": "the bootfs"}


def info(image: ImageArgument, key: KeyOption = None, json: JsonOption = False) -> None:
    """Show partitions of an image, and labels, devices, datasets and space of the pool in it."""
    with opened_image(image) as opened:
        found = _disk(opened)
        if opened.volume.kind != "zfs":
            found["contents"] = _contents(opened)
            _show(found, _plain_lines(found), json=json)
            return
        with opened.pool(key) as pool:
            found |= _gather(pool)
            _show(found, _pool_lines(pool), json=json)


def _show(found: dict[str, object], more: Iterator[str], *, json: bool) -> None:
    if json:
        print_json(found)
        return
    for line in (*_disk_lines(found), "", *more):
        print(printable(line))


def _disk(opened: OpenImage) -> dict[str, object]:
    """What is around the file system, for JSON."""
    from unikiln.image.partitions import partitions

    partition = opened.volume.partition
    number = partition.number if partition else None
    is_qcow2 = type(opened.disk).__name__ == "Qcow2Reader"
    return {
        "image": opened.disk.name,
        "format": "qcow2" if is_qcow2 else "raw",
        "size": opened.disk.size,
        "fs": opened.volume.kind,
        "partitions": partitions(opened.disk) if partition else [],
        "pool_partition": number,
        "cmdline": opened.cmdline,
    }


def _contents(opened: OpenImage) -> dict[str, int]:
    from unikiln.image.opening import open_plain

    return open_plain(opened.volume).contents._asdict()


def _plain_lines(found: dict[str, object]) -> Iterator[str]:
    counts = found["contents"]
    if isinstance(counts, dict):
        yield (
            f"{found['fs']}: {counts['files']:,} files and links, {format_size(counts['bytes'])}, "
            f"{counts['objects'] - counts['files']:,} directories"
        )


def _gather(pool: Pool) -> dict[str, object]:
    """All that there is to know of a pool, for JSON."""
    return {
        "pool": _pool(pool),
        "labels": list(_labels(pool)),
        "vdevs": list(_vdev_records(pool)),
        "datasets": pool.datasets(),
    }


def _pool(pool: Pool) -> dict[str, object]:
    return {
        "name": pool.name,
        "guid": pool.guid,
        "version": pool.version,
        "state": pool.state_name,
        "txg": pool.txg,
        "size": pool.size,
        "allocated": pool.allocated,
        "free": pool.free,
        "features": pool.features,
    }


def _labels(pool: Pool) -> Iterator[dict[str, object]]:
    for member in pool.members:
        for label in member.labels:
            newest = max((each.txg for each in label.uberblocks), default=None)
            yield {
                "device": member.device.name,
                "label": label.index,
                "problem": label.problem or None,
                "uberblocks": len(label.uberblocks),
                "newest_txg": newest,
            }


def _vdev_records(pool: Pool) -> Iterator[dict[str, object]]:
    tree = pool.config.get("vdev_tree")
    if isinstance(tree, dict):
        yield from _vdev_record(tree, 0)


def _vdev_record(config: Mapping[str, object], depth: int) -> Iterator[dict[str, object]]:
    """One record a device, parents first; ``depth`` tells how they nest."""
    yield {"depth": depth, **{name: config[name] for name in _VDEV_FIELDS if name in config}}
    children = config.get("children")
    for child in children if isinstance(children, list | tuple) else ():
        if isinstance(child, dict):
            yield from _vdev_record(child, depth + 1)


def _disk_lines(found: dict[str, object]) -> Iterator[str]:
    yield f"{found['image']}: {found['format']}, {format_size(_number(found['size']))}"
    if found["cmdline"] is not None:
        yield f"command line: {found['cmdline']}"
    yield from _partition_lines(found)


def _pool_lines(pool: Pool) -> Iterator[str]:
    yield f"pool {pool.name}: guid {pool.guid}, version {pool.version}, {pool.state_name}, txg {pool.txg}"
    yield (
        f"space: {format_size(pool.size)}, of which {format_size(pool.allocated)} allocated "
        f"and {format_size(pool.free)} free"
    )
    yield from _feature_lines(pool)
    yield from _label_lines(pool)
    yield "devices:"
    for device in _vdev_records(pool):
        yield _vdev_line(device)
    yield ""
    yield from _dataset_lines(pool)


def _partition_lines(found: dict[str, object]) -> Iterator[str]:
    entries = found["partitions"]
    if not isinstance(entries, list) or not entries:
        yield f"no partitions: {_NAMES[str(found['fs'])]} is the whole disk"
    else:
        for entry in entries:
            mark = f", {_NAMES[str(found['fs'])]}'s" if entry.number == found["pool_partition"] else ""
            yield (
                f"partition {entry.number}: {format_size(entry.size)} from byte {entry.start}, "
                f"{entry.table} type {entry.type}{mark}"
            )


def _feature_lines(pool: Pool) -> Iterator[str]:
    short = {name.rpartition(":")[2]: count for name, count in pool.features.items()}
    active = sorted(name for name, count in short.items() if count)
    enabled = sorted(name for name, count in short.items() if not count)
    yield f"active features: {', '.join(active) or 'none'}"
    yield f"enabled features: {', '.join(enabled) or 'none'}"


def _label_lines(pool: Pool) -> Iterator[str]:
    for label in _labels(pool):
        state = label["problem"] or f"{label['uberblocks']} uberblocks, newest of txg {label['newest_txg']}"
        yield f"label {label['label']}: {state}"


def _vdev_line(device: dict[str, object]) -> str:
    parts = [str(device.get("type")), str(device.get("path", "")), f"guid {device.get('guid')}"]
    if "ashift" in device:
        parts += [f"ashift {device['ashift']}", format_size(_number(device.get("asize")))]
    return "  " * (_number(device["depth"]) + 1) + " ".join(part for part in parts if part)


def _dataset_lines(pool: Pool) -> Iterator[str]:
    infos = pool.datasets()
    header = ("DATASET", "TYPE", "USED", "AVAIL", "REFER", "CREATED")
    rows = [
        (
            each.name,
            each.type,
            format_size(each.used),
            format_size(each.available),
            format_size(each.referenced),
            time_text(each.creation * 1_000_000_000, "%Y-%m-%d %H:%M"),
        )
        for each in infos
    ]
    lines = aligned([header, *rows], frozenset({0, 1}))
    yield lines[0]
    for line, each in zip(lines[1:], infos, strict=True):
        yield line
        if each.encryption_root:
            yield f"    {each.encryption}, key of {each.encryption_root}, {each.key_status}"
        for name, (value, source) in sorted(each.properties.items()):
            yield f"    {name}={value} ({source})"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
