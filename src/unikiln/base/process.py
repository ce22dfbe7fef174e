"""Processes that we start, and what becomes of them when we are gone."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """For ``preexec_fn``: SIGKILL as soon as the thread that starts the process is gone (Linux, prctl(2)).

    It is one system call and takes no lock, so a process with threads may use it.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
