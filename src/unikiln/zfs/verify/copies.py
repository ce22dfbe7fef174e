"""Check every copy of blocks, in threads: reads and checksums release the interpreter's lock."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from types import TracebackType
from typing import NamedTuple, Self

from unikiln.base.progress import Progress
from unikiln.errors import CorruptError
from unikiln.zfs.format.blkptr import BlockPointer, Checksum
from unikiln.zfs.traverse import Report
from unikiln.zfs.zio import Reader, check

_BATCH_BLOCKS = 128
_BATCH_BYTES = 8 << 20
_IN_FLIGHT = 8
_SELF_CHECKED = (Checksum.ZILOG, Checksum.ZILOG2)
"""Log blocks: their pointers do not hold their checksum, and the last one may not be written yet."""


class Checked(NamedTuple):
    """What became of a batch."""

    blocks: int
    bytes: int
    findings: list[str]


class CopyChecker:
    """Takes block pointers, and reports the copies that are bad; done when its ``with`` block ends."""

    def __init__(self, reader: Reader, report: Report, progress: Progress) -> None:
        self.blocks = 0
        self.bytes = 0
        self._reader = reader
        self._report = report
        self._progress = progress
        self._batch: list[BlockPointer] = []
        self._batch_bytes = 0
        self._pending: deque[Future[Checked]] = deque()

    def submit(self, pointer: BlockPointer) -> None:
        """Check the copies of this block, soon; waits when much is under way."""
        self._batch.append(pointer)
        self._batch_bytes += pointer.psize * len(pointer.dvas)
        if len(self._batch) >= _BATCH_BLOCKS or self._batch_bytes >= _BATCH_BYTES:
            self._start()

    def _start(self) -> None:
        self._pending.append(self._reader.threads.submit(check_copies, self._reader, self._batch))
        self._batch, self._batch_bytes = [], 0
        while len(self._pending) > _IN_FLIGHT:
            self._finish(self._pending.popleft())

    def _finish(self, future: Future[Checked]) -> None:
        done = future.result()
        self.blocks += done.blocks
        self.bytes += done.bytes
        self._progress.advance(done.blocks, done.bytes)
        for finding in done.findings:
            self._report(finding)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            for future in self._pending:
                future.cancel()
            return
        self._start()
        while self._pending:
            self._finish(self._pending.popleft())


def check_copies(reader: Reader, pointers: list[BlockPointer]) -> Checked:
    """Read and check every copy and all parity of each block."""
    size, findings = 0, []
    for pointer in pointers:
        if pointer.checksum_type in _SELF_CHECKED:
            continue
        try:
            check(pointer)
            size += pointer.psize * len(pointer.dvas)
            findings += [f"block {pointer.describe()}: {each}" for each in reader.locator.problems(pointer)]
        except CorruptError as error:
            findings.append(error.message)
    return Checked(len(pointers), size, findings)
