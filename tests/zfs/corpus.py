"""Compare what is read of a pool with the manifest that OpenZFS's own mount gave of it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from unikiln.zfs.filesystem import FileSystem, Inode
from unikiln.zfs.pool import Pool

DATA = Path(__file__).parent.parent / "data" / "pools"
MORE = os.environ.get("UNIKILN_POOLS")
"""A folder of more pools, laid out as :data:`DATA` is: ``NAME/N.img.zst`` and ``NAME/NAME.json.zst``."""
_TYPES = {
    "file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK, "chr": stat.S_IFCHR,
    "blk": stat.S_IFBLK, "fifo": stat.S_IFIFO, "sock": stat.S_IFSOCK,
}  # fmt: skip
_WINDOW_MAX = 1 << 27
Manifest = dict[str, Any]


def names() -> list[str]:
    """The pools that come with the tests, and those in :data:`MORE`."""
    folders = [DATA, *([Path(MORE)] if MORE else [])]
    return sorted({path.parent.name for folder in folders for path in folder.glob("*/0.img.zst")})


def folder_of(name: str) -> Path:
    """Where the packed images of a pool lie; the test skips when it is not there."""
    for folder in (DATA, Path(MORE or DATA)):
        if (folder / name).is_dir():
            return folder / name
    pytest.skip(f"pool {name} is not here; UNIKILN_POOLS names a folder with more pools")


def unpack(name: str, folder: Path, number: int = 0) -> Path:
    """Unpack one image of a pool, its zeros as holes."""
    target = folder / f"{name}.{number}.img"
    with (folder_of(name) / f"{number}.img.zst").open("rb") as packed, target.open("wb") as out:
        source = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX).stream_reader(packed)
        while piece := source.read(1 << 20):
            if piece.count(0) == len(piece):
                out.seek(len(piece), os.SEEK_CUR)
            else:
                out.write(piece)
        out.truncate()
    return target


def unpack_all(name: str, folder: Path) -> list[Path]:
    """Unpack every image of a pool."""
    count = len(list(folder_of(name).glob("*.img.zst")))
    return [unpack(name, folder, number) for number in range(count)]


def manifest(name: str, state: str = "") -> Manifest:
    """What OpenZFS says is in a pool; ``state`` is ``reimported``, ``unreplayed`` or ``checkpoint``."""
    path = folder_of(name) / f"{name}{'.' + state if state else ''}.json.zst"
    with path.open("rb") as packed:
        found: Manifest = json.load(zstandard.ZstdDecompressor().stream_reader(packed))
    return found


def keys(name: str) -> dict[str, bytes | str] | None:
    """The keys of a pool by encryption root, if anything in it is encrypted."""
    path = folder_of(name) / "keys.json.zst"
    if not path.exists():
        return None
    with path.open("rb") as packed:
        held = json.load(zstandard.ZstdDecompressor().stream_reader(packed))
    by_format = {**held, "raw": bytes.fromhex(held["raw_hex"])}
    state = "" if (path.parent / f"{name}.json.zst").exists() else "unreplayed"
    props = {each: dataset["props"] for each, dataset in manifest(name, state)["datasets"].items()}
    roots = {each["encryptionroot"][0] for each in props.values() if "encryptionroot" in each} - {"-"}
    return {root: by_format[props[root]["keyformat"][0]] for root in roots if root in props}


def differences(pool: Pool, expected: Manifest) -> Iterator[str]:
    """One line for each thing that is not as the manifest says."""
    infos = {info.name: info for info in pool.datasets()}
    for name, dataset in expected["datasets"].items():
        if dataset["type"] == "bookmark":
            continue
        if name not in infos:
            yield f"no dataset {name}"
            continue
        yield from _property_differences(name, infos[name].properties, dataset["props"])
        if dataset.get("paths"):
            yield from _tree_differences(pool.filesystem(name), dataset["paths"])
    listed = {name for name, dataset in expected["datasets"].items() if dataset["type"] != "bookmark"}
    yield from (f"dataset {name} is not in the manifest" for name in infos.keys() - listed)


def _property_differences(
    name: str, found: dict[str, tuple[str, str]], expected: dict[str, list[str]]
) -> Iterator[str]:
    for key, (value, source) in found.items():
        stated = expected.get(key, ["?", "?"])
        if source == stated[1] == "local" and value != stated[0] and not _same_size(value, stated[0]):
            yield f"{name}: {key} is {value}, not {stated[0]}"


def _same_size(value: str, stated: str) -> bool:
    """Whether a rounded size is the exact one that the manifest has; xattr=sa is called ``on`` there."""
    suffix = "BKMGTPE".find(value[-1:])
    if suffix > 0 and stated.isdigit():
        return abs(float(value[:-1]) * 1024.0**suffix - int(stated)) <= 0.01 * int(stated)
    return (value, stated) in (("none", "0"), ("sa", "on"))


def _tree_differences(fs: FileSystem, paths: dict[str, dict[str, Any]]) -> Iterator[str]:
    seen: set[str] = set()
    stack = [("", fs.root)]
    while stack:
        path, inode = stack.pop()
        seen.add(path)
        entry = paths.get(path)
        if entry is None:
            yield f"{fs.name}: {path!r} is not in the manifest"
            continue
        if entry.get("mountpoint"):
            continue
        yield from (f"{fs.name}: {path!r}: {line}" for line in inode_differences(inode, entry))
        if inode.is_directory:
            stack += [(_join(path, each.name), fs.inode(each.object)) for each in inode.entries()]
    yield from (f"{fs.name}: {path!r} is missing" for path in paths.keys() - seen)


def _join(path: str, name: bytes) -> str:
    return f"{path}/{os.fsdecode(name)}" if path else os.fsdecode(name)


def inode_differences(inode: Inode, entry: dict[str, Any]) -> Iterator[str]:
    found = inode.attributes
    expected = {
        "mode": _TYPES[entry["type"]] | int(entry["mode"], 8),
        "uid": entry["uid"],
        "gid": entry["gid"],
        "size": entry["size"],
        "nlink": entry["nlink"],
        "mtime_ns": entry["mtime_ns"],
        "object": found.object if entry["obj"] >> 47 else entry["obj"],  # .zfs numbers roots itself
        "rdev": os.makedev(*entry["rdev"]) if "rdev" in entry else found.rdev,
    }
    for name, value in expected.items():
        if getattr(found, name) != value:
            yield f"{name} is {getattr(found, name)}, not {value}"
    yield from _content_differences(inode, entry)
    xattrs = {os.fsdecode(name): base64.b64encode(value).decode() for name, value in inode.xattrs().items()}
    if xattrs != entry.get("xattrs", {}):
        yield f"extended attributes {sorted(xattrs)} are not {sorted(entry.get('xattrs', {}))}"


def _content_differences(inode: Inode, entry: dict[str, Any]) -> Iterator[str]:
    if "target" in entry and inode.readlink() != os.fsencode(entry["target"]):
        yield f"target is {inode.readlink()!r}"
    if "sha256" in entry:
        digest = hashlib.sha256(inode.read(0, inode.attributes.size)).hexdigest()
        if digest != entry["sha256"]:
            yield "content differs"
    for offset, length, digest in entry.get("extents", ()):
        if hashlib.sha256(inode.read(offset, length)).hexdigest() != digest:
            yield f"content differs in {length} bytes from {offset}"
        if not any(at <= offset < at + run for at, run in inode.data_ranges()):
            yield f"data at {offset} is said to be a hole"
