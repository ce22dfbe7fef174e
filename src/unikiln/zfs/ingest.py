"""File content from the host into encoded blocks: read, cut into records, compressed, checksummed in threads.

Work is handed out in jobs of about a megabyte - one piece of a large file, or many small ones - and
its results come back in the order of the files, with only a few jobs in flight.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from unikiln.base.size import round_up
from unikiln.base.source import Source, data_ranges, read
from unikiln.zfs.block_writer import Encoded, Policy, encode

JOB_BYTES = 1 << 20
JOB_FILES = 64
SPARSE_MIN = 1 << 20
"""Files below this are read whole; in larger ones the host is asked where data lies."""


class Request(NamedTuple):
    """A regular file to be read: ``key`` comes back with its blocks."""

    key: int
    source: Source
    size: int


class Blocks(NamedTuple):
    """Consecutive blocks of file ``key``: encoded ones (None: a hole), then ``holes`` more holes."""

    key: int
    blocks: list[Encoded | None]
    holes: int
    size: int
    last: bool


class _Piece(NamedTuple):
    request: Request
    offset: int
    length: int
    hole: bool
    last: bool


@dataclass(slots=True)
class _Job:
    pieces: list[_Piece] = field(default_factory=list)
    size: int = 0

    @property
    def full(self) -> bool:
        return self.size >= JOB_BYTES or len(self.pieces) >= JOB_FILES


def block_size(size: int, recordsize: int) -> int:
    """The block size of a file: one block as long as the file, or records."""
    return recordsize if size > recordsize else max(round_up(size, 512), 512)


def read_files(requests: Iterable[Request], recordsize: int, policy: Policy) -> Iterator[Blocks]:
    """The blocks of all files, in order, each file's last batch marked; files of no bytes give none.

    :raises HostError: a file cannot be read, or shrank since it was listed
    """
    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers, "unikiln-ingest") as pool:
        flying: deque[Future[list[Blocks]]] = deque()
        try:
            for job in _jobs(requests, recordsize):
                flying.append(pool.submit(_run, job, recordsize, policy))
                if len(flying) > 2 * workers:
                    yield from flying.popleft().result()
            while flying:
                yield from flying.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _jobs(requests: Iterable[Request], recordsize: int) -> Iterator[_Job]:
    job = _Job()
    for request in requests:
        for piece in _pieces(request, recordsize):
            job.pieces.append(piece)
            job.size += 0 if piece.hole else piece.length
            if job.full:
                yield job
                job = _Job()
    if job.pieces:
        yield job


def _pieces(request: Request, recordsize: int) -> Iterator[_Piece]:
    """The file cut at record boundaries into pieces of a job's size, and holes of any size."""
    if request.size == 0:
        return
    step = max(JOB_BYTES // recordsize, 1) * recordsize
    for start, end, hole in _ranges(request, recordsize):
        width = end - start if hole else step
        for offset in range(start, end, width):
            stop = min(offset + width, end)
            yield _Piece(request, offset, stop - offset, hole, stop >= request.size)


def _ranges(request: Request, recordsize: int) -> Iterator[tuple[int, int, bool]]:
    """(start, end, is a hole) over the whole file, rounded inwards to whole records for holes."""
    if request.source is None:
        yield 0, request.size, True
    elif request.size < SPARSE_MIN:
        yield 0, request.size, False
    else:
        position = 0
        for start, end in data_ranges(request.source, request.size):
            start = start // recordsize * recordsize
            if start > position:
                yield position, start, True
            position, start = max(start, position), max(start, position)
            stop = min(round_up(end, recordsize), request.size)
            if stop > start:
                yield start, stop, False
                position = stop
        if position < request.size:
            yield position, request.size, True


def _run(job: _Job, recordsize: int, policy: Policy) -> list[Blocks]:
    return [_encode_piece(piece, recordsize, policy) for piece in job.pieces]


def _encode_piece(piece: _Piece, recordsize: int, policy: Policy) -> Blocks:
    request = piece.request
    size = block_size(request.size, recordsize)
    if piece.hole:
        return Blocks(request.key, [], -(-piece.length // size), piece.length, piece.last)
    data = read(request.source, piece.offset, piece.length)
    blocks = [encode(_record(data, start, size), policy) for start in range(0, len(data), size)]
    return Blocks(request.key, blocks, 0, piece.length, piece.last)


def _record(data: bytes, start: int, size: int) -> bytes:
    if start == 0 and len(data) == size:
        return data
    return data[start : start + size].ljust(size, b"\0")
