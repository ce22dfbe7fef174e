"""Servers that misbehave: each takes one connection and does with it what the test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def serve(path: Path, *talks: Callable[[socket.socket], None]) -> Iterator[None]:
    """Listen at ``path``; connections go to ``talks``, one after the other, and close when they return."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, talks), daemon=True)
        thread.start()
        yield
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive(), "the client left a connection open"


def _serve(listener: socket.socket, talks: tuple[Callable[[socket.socket], None], ...]) -> None:
    for talk in talks:
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(10)
            with connection:
                talk(connection)


def until_closed(connection: socket.socket) -> None:
    """Answer nothing until the client gives up."""
    while connection.recv(4096):
        pass
