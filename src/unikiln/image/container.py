"""Files that hold a disk: raw, or qcow2. Opened by what is in them, made by what is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from unikiln.base.device import BlockDevice, FileDevice
from unikiln.errors import ImageError, UnikilnError, UnsupportedError, UsageError
from unikiln.image.growing import GrowingDevice
from unikiln.image.qcow2 import MAGIC, Qcow2Reader, Qcow2Writer

FORMATS = ("raw", "qcow2")
_SUFFIXES = {".raw": "raw", ".img": "raw", ".zfs": "raw", ".rofs": "raw", ".bin": "raw", ".qcow2": "qcow2"}
_LONGEST_CHAIN = 16


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that the suffix of ``path`` stands for.

    :raises UsageError: it stands for none
    """
    suffix = Path(path).suffix
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"{os.fspath(path)}: its suffix tells no image format", hint="give --format raw or --format qcow2"
        )
    return _SUFFIXES[suffix]


def open_image(path: str | os.PathLike[str]) -> BlockDevice:
    """The disk in ``path``, for reading; qcow2 is known by its first bytes, all else is raw.

    A qcow2 file may stand on a backing file beside it, and that on another.

    :raises HostError: the file cannot be opened
    :raises ImageError: a damaged qcow2 file, or backing files without end
    """
    return _open(Path(path), None, _LONGEST_CHAIN)


def create_image(path: str | os.PathLike[str], form: str) -> GrowingDevice:
    """A new image at ``path``, empty and of size 0; what is never written takes no space.

    :raises UsageError: no such format
    """
    if form == "qcow2":
        return Qcow2Writer(path)
    if form != "raw":
        raise UsageError(f"unknown image format {form!r}", hint=f"there are: {', '.join(FORMATS)}")
    device = FileDevice(path, writable=True)
    device.truncate(0)
    return device


def _open(path: Path, form: str | None, links: int) -> BlockDevice:
    file = FileDevice(path)
    try:
        if form == "raw" or (form is None and not _is_qcow2(file)):
            return file
        return Qcow2Reader(file, lambda name, below: _open_backing(path, name, below, links))
    except (UnikilnError, OSError):
        file.close()
        raise


def _is_qcow2(file: FileDevice) -> bool:
    return file.size >= len(MAGIC) and file.read_at(0, len(MAGIC)) == MAGIC


def _open_backing(image: Path, name: str, form: str | None, links: int) -> BlockDevice:
    if links == 0:
        raise ImageError(f"{image}: stands on more than {_LONGEST_CHAIN} backing files", hint="is it a loop?")
    if form not in (None, *FORMATS):
        raise UnsupportedError(f"{image}: its backing file is of format {form!r}")
    if ":" in name.partition("/")[0]:
        raise UnsupportedError(f"{image}: its backing file {name!r} is no file")
    return _open(image.parent / name, form, links - 1)
