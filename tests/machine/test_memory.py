from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest import tiny
from tests.machine.running import run
from unikiln.errors import GuestMemoryError
from unikiln.machine.memory import ZERO_FRAME, GuestMemory


def test_frames_are_zero_again_when_they_come_back() -> None:
    memory = GuestMemory(1 << 20)
    frame = memory.allocate()
    memory.bytes[frame : frame + 4096] = b"x" * 4096
    memory.hold(frame)
    memory.release(frame)
    assert memory.references(frame) == 1
    memory.release(frame)
    frames = [memory.allocate() for _ in range(255)]
    assert len(set(frames)) == 255
    assert ZERO_FRAME not in frames
    assert not any(memory.bytes)
    with pytest.raises(GuestMemoryError, match="--memory"):
        memory.allocate()


def test_what_can_be_reclaimed_is_before_giving_up() -> None:
    memory = GuestMemory(1 << 20)
    frames = [memory.allocate() for _ in range(255)]

    def reclaim() -> int:
        memory.release(frames.pop())
        return 1

    memory.reclaim = reclaim
    assert memory.allocate()


def test_code_in_a_frame_that_is_used_again_is_forgotten() -> None:
    memory = GuestMemory(1 << 20)
    forgotten: list[int] = []
    memory.forget_code = lambda: forgotten.append(1)
    frame = memory.allocate()
    memory.executed.add(frame)
    memory.release(frame)
    assert memory.allocate() == frame
    assert forgotten == [1]


def test_a_run_is_contiguous_or_none() -> None:
    memory = GuestMemory(1 << 20)
    run = memory.allocate_run(100)
    assert run is not None
    assert memory.allocate() == run + 100 * 4096
    assert memory.allocate_run(200) is None


def test_too_little_memory_is_an_error_with_a_hint(root: Path, install: Callable[[str, bytes], None]) -> None:
    install("program", tiny.touch_loop(1000))
    with pytest.raises(GuestMemoryError, match="--memory"):
        run(root, "/program", memory=2 << 20)
    with pytest.raises(GuestMemoryError, match="not enough"):
        run(root, "/program", memory=4096)


def test_file_pages_that_nothing_maps_make_room(root: Path, install: Callable[[str, bytes], None]) -> None:
    """Forty pages of a file fit although the memory holds few more."""
    install("program", tiny.file_loop(40, 1))
    done = run(root, "/program", memory=1 << 20)
    assert done.status == 0
    assert done.process.cache.bytes_read >= 40 * 4096
