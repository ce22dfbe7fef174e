"""The service that takes an archive over TCP, as OSv's cpiod does: one connection, one archive, no answer.

The sender shuts its side down when the archive is out, and then waits; the connection ends when all is kept.
Only an end without a reset after a whole archive is one: who wants to know looks at what was written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import IO, TypeVar, cast

from unikiln.errors import HostError, UploadError, UsageError
from unikiln.image.cpio.reader import Stream

PORT = 10000
"""Where OSv's cpiod listens."""
_BUFFER = 1 << 20
_LINGER_SECONDS = 1.0
_DRAIN_MAX = 1 << 20

Result = TypeVar("Result")


class Cpiod:
    """Listens from the start; ``port`` 0 is any that is free, without a race for it.

    :param timeout: seconds without a byte after which a sender is given up; None: never
    :raises HostError: the port is taken, or there is no such host
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, timeout: float | None = None) -> None:
        self._timeout = timeout
        self._connection: socket.socket | None = None
        self._closed = False
        try:
            self._listener = socket.create_server((host, port), family=_family(host), backlog=1)
        except OSError as error:
            hint = "port 0 is any that is free" if error.errno == errno.EADDRINUSE else None
            raise HostError(f"{host}:{port}: {_reason(error)}", hint=hint) from error
        self.host: str
        self.port: int
        self.host, self.port = self._listener.getsockname()[:2]

    def receive(self, keep: Callable[[Stream], Result]) -> Result:
        """Wait for a connection, and give what comes to ``keep``; what that gives.

        :raises UploadError: the connection was lost, or :meth:`close` was called meanwhile
        :raises CpioError: what came is no whole archive
        """
        try:
            connection, peer = self._listener.accept()
        except OSError as error:
            raise UploadError(f"{self.host}:{self.port}: stopped listening") from error
        self._connection = connection
        with connection:
            if self._closed:
                raise UploadError(f"{self.host}:{self.port}: stopped listening")
            connection.settimeout(self._timeout)
            with cast("IO[bytes]", connection.makefile("rb", _BUFFER)) as stream:
                result = keep(_Socket(stream, f"{peer[0]}:{peer[1]}"))
                _end(connection)
        return result

    def close(self) -> None:
        """Stop: who waits in :meth:`receive`, in any thread, gets an error."""
        self._closed = True
        for each in (self._listener, self._connection):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _Socket:
    """What a connection brings; its loss is an error that names the sender."""

    def __init__(self, stream: IO[bytes], peer: str) -> None:
        self._stream = stream
        self._peer = peer

    def read(self, size: int, /) -> bytes:
        try:
            return self._stream.read(size)
        except TimeoutError:
            raise UploadError(f"{self._peer}: sent nothing for too long") from None
        except OSError as error:
            raise UploadError(f"{self._peer}: the connection was lost: {error.strerror}") from error


def _reason(error: OSError) -> str:
    """The host's words alone: ``create_server`` adds its own to them."""
    by_name = isinstance(error, socket.gaierror) or error.errno is None
    return str(error.strerror) if by_name else os.strerror(error.errno or 0)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _end(connection: socket.socket) -> None:
    """Say that all is kept. What is still unread, such as padding, would turn our end into a reset."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_LINGER_SECONDS)
        left = _DRAIN_MAX
        while left > 0 and (data := connection.recv(min(left, _BUFFER))):
            left -= len(data)


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``[HOST:]PORT``; without a host only this host itself can connect.

    :raises UsageError: it is neither
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(f"{text!r} is no [HOST:]PORT", hint="such as 10000 or 0.0.0.0:10000")
    return host.strip("[]") or "127.0.0.1", int(port)
