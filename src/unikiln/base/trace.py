"""Tracepoints, by OSv's names: places in the code that tell what happens there, at a price only when watched.

A module makes its tracepoints once (``tracepoint("mmu_vm_access_flag_fault", "addr=%#x")``) and calls
them as functions. A consumer attaches a sink by name or wildcard; without one, a call costs a test.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from unikiln.errors import UsageError

Sink = Callable[[str, str], None]
"""Takes the tracepoint's name and its formatted message."""

_registry: dict[str, Tracepoint] = {}


class Tracepoint:
    """One place in the code; ``layout`` is a %-format over the arguments of the call."""

    __slots__ = ("_sinks", "layout", "name")

    def __init__(self, name: str, layout: str) -> None:
        self.name = name
        self.layout = layout
        self._sinks: tuple[Sink, ...] = ()

    def __call__(self, *arguments: object) -> None:
        """Tell every attached sink; nothing is formatted when there is none."""
        if self._sinks:
            message = self.layout % arguments
            for sink in self._sinks:
                sink(self.name, message)

    @property
    def enabled(self) -> bool:
        """Whether anything listens."""
        return bool(self._sinks)

    def attach(self, sink: Sink) -> None:
        """Tell ``sink`` from now on."""
        self._sinks += (sink,)

    def detach(self, sink: Sink) -> None:
        """Stop telling ``sink``."""
        self._sinks = tuple(each for each in self._sinks if each is not sink)


def tracepoint(name: str, layout: str) -> Tracepoint:
    """Make and register the tracepoint ``name``."""
    return _registry.setdefault(name, Tracepoint(name, layout))


def names() -> list[str]:
    """Names of all tracepoints whose modules are loaded, sorted."""
    return sorted(_registry)


def select(pattern: str) -> list[Tracepoint]:
    """Tracepoints whose name matches the shell wildcard ``pattern``.

    :raises UsageError: none does
    """
    found = [point for name, point in sorted(_registry.items()) if fnmatchcase(name, pattern)]
    if not found:
        raise UsageError(f"no tracepoint matches {pattern!r}", hint=f"there are: {', '.join(names())}")
    return found
