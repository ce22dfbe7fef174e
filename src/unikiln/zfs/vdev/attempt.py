"""One way to get a block off a vdev: a whole copy, or a reconstruction; whoever asks knows which is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from unikiln.errors import CorruptError

Verdict = Callable[[bytes], bool]
"""Whether bytes are those of the block that was asked for."""


@dataclass(slots=True, frozen=True)
class Attempt:
    """``read`` gives the bytes, or raises :class:`CorruptError`.

    ``name`` says where they come from. ``without`` are names of devices whose bytes were there and were
    not believed: if this attempt is right, those are bad. ``is_copy`` tells a whole copy, which by itself is
    to blame when it is wrong, from one arrangement of many.
    """

    name: str
    read: Callable[[], bytes]
    without: tuple[str, ...] = ()
    is_copy: bool = True


class Vdev(Protocol):
    """Anything that holds blocks: offsets and sizes in bytes, ``birth`` the txg that wrote them."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    @property
    def is_plain(self) -> bool:
        """Whether what is next to each other in addresses is so on the devices, whole."""

    def attempts(self, offset: int, size: int, birth: int) -> Iterator[Attempt]:
        """Every way to read, the likeliest first; none if all devices are missing."""

    def problems(self, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
        """What is wrong with any copy or parity of a block, a line each."""


def copy_problems(vdev: Vdev, offset: int, size: int, birth: int, verdict: Verdict) -> Iterator[str]:
    """The problems of a vdev whose attempts are all copies."""
    for attempt in vdev.attempts(offset, size, birth):
        try:
            good = verdict(attempt.read())
        except CorruptError as error:
            yield f"on {attempt.name} cannot be read: {error.message}"
            continue
        if not good:
            yield f"on {attempt.name} fails its checksum"
