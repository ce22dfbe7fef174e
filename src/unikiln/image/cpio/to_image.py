"""An archive as a new image: a tree is gathered, and written as ``build`` writes one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from unikiln.base.tree import directory
from unikiln.image.build import BuildOptions, build
from unikiln.image.container import format_of
from unikiln.image.cpio.gather import Spool, TreeReceiver
from unikiln.image.cpio.newc import Header
from unikiln.image.cpio.reader import Stream
from unikiln.image.cpio.receive import Received, receive, split
from unikiln.image.placing import find, place
from unikiln.image.sources import SourceOptions

_NS = 1_000_000_000


def into_image(stream: Stream, image: Path, prefix: bytes, on_entry: Callable[[Header], None]) -> Received:
    """Make ``image``, a disk with a pool, of what ``stream`` brings, below ``prefix`` of its ``osv/zfs``.

    :raises CpioError: the archive is damaged, ends early or lies; there is no image then
    :raises UsageError: the suffix of ``image`` tells no format
    """
    form = format_of(image)
    time_ns = int(time.time()) * _NS
    root, path = directory(time_ns=time_ns), b"/".join(split(prefix))
    place(root, path, directory(time_ns=time_ns), time_ns=time_ns)
    received = receive(stream, TreeReceiver(Spool(image.parent), find(root, path)), on_entry)
    options = BuildOptions(sources=SourceOptions(), output=image, arch="aarch64", format=form)
    build(options, tree=root)
    return received
