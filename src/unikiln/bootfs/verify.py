"""Whether a bootfs is whole, as far as it can tell; one that makes no sense is refused when it is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator

from unikiln.bootfs import format as disk
from unikiln.bootfs.filesystem import FileSystem


def verify(filesystem: FileSystem) -> Iterator[str]:
    """A finding for each thing that is wrong."""
    first = (len(filesystem.records) + 1) * disk.RECORD
    seen: set[bytes] = set()
    for record in filesystem.records:
        name = os.fsdecode(record.name)
        if record.name in seen and not record.is_directory:
            yield f"{name} is there twice"
        seen.add(record.name)
        if record.size and record.offset < first:
            yield f"{name} begins at byte {record.offset}, among the records"
