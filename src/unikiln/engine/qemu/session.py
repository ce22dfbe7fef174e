"""A guest's whole life: its console to and from us, until it ends or must be ended."""

from __future__ import annotations

import os
import select
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unikiln.engine.qemu import outcome
from unikiln.engine.qemu.console import Console
from unikiln.engine.qemu.guest import Guest
from unikiln.engine.qemu.plan import Command, start

_CHUNK = 1 << 16
_HALTED_SECONDS = 2.0
"""How long a guest that says it aborted may take to end QEMU."""

Sink = Callable[[bytes], object]
"""Takes bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a guest is watched. ``timeout`` in seconds, None: for ever. ``wait_when_halted``: for a debugger.

    ``paused``: the guest does not start until somebody says so through the monitor or a debugger.
    """

    timeout: float | None = None
    wait_when_halted: bool = False
    paused: bool = False


def run(
    commands: tuple[Command, ...],
    terms: Terms,
    *,
    say: Sink,
    complain: Sink,
    keys: int | None = None,
    started: Callable[[Guest], object] = lambda guest: None,
) -> outcome.Outcome:
    """Run what :func:`.plan.plan` gave to its end, and tell how that was. No process is left, whatever
    happens.

    ``say`` gets the console's output and ``complain`` QEMU's own; ``keys`` is a descriptor to read the
    console's input from. ``started`` is called before the guest's first instruction.

    :raises HostError: QEMU does not start
    """
    with start(commands, complain) as guest:
        started(guest)
        if not terms.paused:
            guest.go()
        return _Relay(guest, terms, say, complain, keys).run()


class _Relay:
    """One loop over all that can happen."""

    def __init__(self, guest: Guest, terms: Terms, say: Sink, complain: Sink, keys: int | None) -> None:
        self._guest = guest
        self._terms = terms
        self._say = say
        self._complain = complain
        self._keys = keys
        self._console = Console()
        self._typed = b""
        self._selector = selectors.PollSelector()  # epoll takes no regular files, and input may be one
        self._deadline = None if terms.timeout is None else time.monotonic() + terms.timeout
        self._halted_at: float | None = None

    def run(self) -> outcome.Outcome:
        """Until QEMU ends, or must."""
        with self._selector:
            self._watch(self._guest.stdout, self._output)
            self._watch(self._guest.stderr, self._complaint)
            if self._keys is not None:
                self._watch(self._keys, self._input)
            while self._guest.stdout in self._selector.get_map():
                for key, _ in self._selector.select(self._patience()):
                    key.data()
                ended = self._overdue()
                if ended:
                    return ended
        return self._judge()

    def _watch(self, what: Any, call: Callable[[], None], event: int = selectors.EVENT_READ) -> None:  # noqa: ANN401
        self._selector.register(what, event, call)

    def _output(self) -> None:
        data = self._guest.stdout.read(_CHUNK)
        if not data:
            self._selector.unregister(self._guest.stdout)
            return
        self._say(data)
        self._console.feed(data)
        if self._console.halted and self._halted_at is None:
            self._halted_at = time.monotonic()

    def _complaint(self) -> None:
        data = self._guest.stderr.read(_CHUNK)
        if data:
            self._complain(data)
        else:
            self._selector.unregister(self._guest.stderr)

    def _input(self) -> None:
        """Read only what the guest can take: while something waits for it, keys stay where they are."""
        assert self._keys is not None
        self._typed = os.read(self._keys, _CHUNK)
        self._selector.unregister(self._keys)
        if self._typed:
            self._watch(self._guest.stdin, self._type, selectors.EVENT_WRITE)

    def _type(self) -> None:
        try:
            # A pipe that is ready takes this much without blocking (pipe(7), PIPE_BUF).
            written = os.write(self._guest.stdin.fileno(), self._typed[: select.PIPE_BUF])
        except BrokenPipeError:  # QEMU is ending
            self._selector.unregister(self._guest.stdin)
            return
        self._typed = self._typed[written:]
        if not self._typed:
            self._selector.unregister(self._guest.stdin)
            assert self._keys is not None
            self._watch(self._keys, self._input)

    def _patience(self) -> float | None:
        """Seconds until something is overdue."""
        due = [each for each in (self._deadline, self._give_up_at()) if each is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _give_up_at(self) -> float | None:
        if self._halted_at is None or self._terms.wait_when_halted:
            return None
        return self._halted_at + _HALTED_SECONDS

    def _overdue(self) -> outcome.Outcome | None:
        now, give_up = time.monotonic(), self._give_up_at()
        if give_up is not None and now >= give_up:
            return outcome.crashed(self._console)
        if self._deadline is not None and now >= self._deadline:
            assert self._terms.timeout is not None
            return outcome.timed_out(self._terms.timeout)
        return None

    def _judge(self) -> outcome.Outcome:
        events = self._guest.events()
        status = self._guest.process.wait()
        self._complain(self._guest.stderr.read())
        self._console.end()
        return outcome.judge(self._console, events, status)
