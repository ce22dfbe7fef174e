"""Know that a pool is whole: every copy of every block, the space maps, the labels and the files.

What ``zdb -bcc`` and a scrub would find, and what neither looks at: bad copies beside good ones, and
links, parents and names that disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from unikiln.base.progress import QUIET, Progress
from unikiln.errors import CorruptError
from unikiln.zfs.pool import Pool
from unikiln.zfs.traverse import Walk
from unikiln.zfs.verify.copies import CopyChecker
from unikiln.zfs.verify.extents import Extents
from unikiln.zfs.verify.labels import label_findings
from unikiln.zfs.verify.structure import structure_findings

FINDINGS_MAX = 10_000
"""More findings than this are only counted."""


@dataclass(slots=True)
class Verification:
    """What :func:`verify` found, one line each, and how much it looked at; iterates over the findings.

    ``blocks`` counts block pointers followed, ``bytes`` what was read and checked of all copies.
    ``locked`` names the datasets whose keys were not given: their blocks were checked, not their files.
    """

    findings: list[str] = field(default_factory=list)
    blocks: int = 0
    bytes: int = 0
    objects: int = 0
    unlisted: int = 0
    locked: list[str] = field(default_factory=list)

    def report(self, finding: str) -> None:
        """Add a finding."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)
        else:
            self.unlisted += 1

    @property
    def bytes_read(self) -> int:
        """The same as ``bytes``."""
        return self.bytes

    def __iter__(self) -> Iterator[str]:
        yield from self.findings
        if self.unlisted:
            yield f"and {self.unlisted} more"


def verify(pool: Pool, progress: Progress = QUIET) -> Verification:
    """Read every copy of every block that the active uberblock leads to, and check what depends on it.

    :raises UnsupportedError: the pool uses something that we cannot read, which it names
    """
    result = Verification()
    for finding in label_findings(pool):
        result.report(finding)
    try:
        _verify_blocks(pool, result, progress)
        for finding in structure_findings(pool, result.locked):
            result.report(finding)
    except CorruptError as error:
        result.report(error.message)
    return result


def _verify_blocks(pool: Pool, result: Verification, progress: Progress) -> None:
    extents = Extents(pool)
    walk = Walk(pool, result.report)
    progress.total(0, sum(used.allocated for used in pool.usage.values()))
    with CopyChecker(pool.reader, result.report, progress) as checker:
        for pointer in walk.everything():
            if extents.add(pointer):
                checker.submit(pointer)
    for pointer in walk.pending_frees():
        extents.add(pointer)
    result.blocks, result.bytes, result.objects = checker.blocks, checker.bytes, walk.objects
    for finding in extents.findings():
        result.report(finding)
