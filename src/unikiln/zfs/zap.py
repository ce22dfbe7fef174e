"""ZAP objects, for reading: names to values, in the micro or the fat form (zap.c, zap_micro.c)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property

from unikiln.errors import CorruptError
from unikiln.zfs.format import fatzap
from unikiln.zfs.format import zap as format_zap
from unikiln.zfs.format.zap import Entry
from unikiln.zfs.objset import DmuObject, ObjectSet


class Zap:
    """A ZAP object; a micro ZAP is decoded at first use, a fat one leaf by leaf."""

    def __init__(self, obj: DmuObject) -> None:
        self.object = obj

    @cached_property
    def micro(self) -> dict[bytes, int] | None:
        """The names and values of a micro ZAP; None for a fat one.

        :raises CorruptError: neither
        """
        block = self._first
        kind = int.from_bytes(block[:8], "little")
        if kind == format_zap.HEADER:
            return None
        if kind != format_zap.MICRO:
            raise CorruptError(f"object {self.object.number} is not a ZAP")
        return format_zap.decode_micro(block)

    @cached_property
    def _first(self) -> bytes:
        return self.object.read_block(0)

    @cached_property
    def header(self) -> fatzap.Header:
        """The head of a fat ZAP."""
        return fatzap.Header(self._first)

    def get(self, name: bytes) -> int | None:
        """The first value under ``name``, or None."""
        if self.micro is not None:
            return self.micro.get(name)
        entry = self.entry(name)
        return entry.values[0] if entry is not None and entry.values else None

    def entry(self, name: bytes) -> Entry | None:
        """All of what is under ``name``, found by its hash.

        Where names are normalized their hashes are not those of their bytes: then all are looked through.
        """
        if self.micro is not None:
            value = self.micro.get(name)
            return None if value is None else Entry(name, (value,))
        if self.header.normalization:
            return next((entry for entry in self.entries() if entry.name == name), None)
        leaf = self.header.leaf_of(self.header.digest(name), self._table_block)
        found = (entry for _, entry in self._leaf(leaf) if entry.name == name)
        return next(found, None)

    def entries(self) -> Iterator[Entry]:
        """Every entry; those of a fat ZAP in order of hash.

        :raises CorruptError: a leaf that is not one, or that is not in the object
        """
        if self.micro is not None:
            yield from (Entry(name, (value,)) for name, value in self.micro.items())
            return
        leaves = self.header.leaf_blocks(self._table_block)
        if len(leaves) > self.object.blocks or len(set(leaves)) != len(leaves):
            raise CorruptError(f"ZAP {self.object.number} has leaves in its table more than once")
        for number in leaves:
            yield from (entry for _, entry in self._leaf(number))

    def numbers(self) -> Iterator[tuple[bytes, int]]:
        """(name, first value) of every entry that has one."""
        if self.micro is not None:
            yield from self.micro.items()
            return
        yield from ((entry.name, entry.values[0]) for entry in self.entries() if entry.values)

    def _table_block(self, number: int) -> bytes:
        if not 0 < number < self.object.blocks:
            raise CorruptError(f"ZAP {self.object.number} has its pointer table in block {number}")
        if self.object.block_pointer(number) is None:
            raise CorruptError(f"ZAP {self.object.number} has a hole in its pointer table")
        return self.object.read_block(number)

    def _leaf(self, number: int) -> list[tuple[int, Entry]]:
        if not 0 < number < self.object.blocks:
            raise CorruptError(f"ZAP {self.object.number} has a leaf in block {number}, beyond its end")
        try:
            return fatzap.decode_leaf(self.object.read_block(number), word_keys=self.header.has_word_keys)
        except struct.error as error:
            raise CorruptError(f"ZAP {self.object.number}: leaf {number} is cut off") from error


def read_zap(objset: ObjectSet, number: int) -> dict[bytes, int]:
    """First values of ZAP object ``number`` of ``objset``, by name."""
    return dict(Zap(objset.object(number)).numbers())
