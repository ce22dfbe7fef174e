"""One partition of a disk, whatever table describes it."""

from __future__ import annotations

from dataclasses import dataclass

SECTOR = 512
"""Bytes in a sector, the unit of both kinds of partition table."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A range of a disk; ``start`` and ``size`` in bytes, ``number`` as people count: from 1.

    ``type`` is the MBR's system id in two hex digits (``83``) or the GPT's type GUID.
    """

    number: int
    start: int
    size: int
    type: str
    table: str
