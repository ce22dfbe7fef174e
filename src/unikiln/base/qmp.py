"""A synchronous client of QMP, QEMU's control protocol (QEMU, docs/interop/qmp-spec.rst).

The library ``qemu.qmp`` speaks the protocol; here it gets limits in time and errors that name the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine
from pathlib import Path
from socket import socket
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError, Runstate
from qemu.qmp.error import ProtocolError

from unikiln.errors import GuestGoneError

_T = TypeVar("_T")

# What goes wrong comes as an exception; the library would write it to standard error as well.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class Event(NamedTuple):
    """Something that happened: its name in the protocol (QEMU, qapi/run-state.json), and what is told with
    it.
    """

    name: str
    data: dict[str, Any]


class Qmp:
    """A connection to the monitor of a running QEMU at ``path``, a UNIX socket or one that is connected.

    Nothing takes longer than ``timeout`` seconds: what does is a :class:`GuestGoneError`.

    :raises GuestGoneError: nobody listens there, or nobody that speaks QMP
    """

    def __init__(self, path: Path | socket, timeout: float = 10.0) -> None:
        self.path = Path("QMP") if isinstance(path, socket) else path
        self._timeout = timeout
        self._runner = asyncio.Runner()
        self._client = QMPClient()
        self._events = EventListener()
        self._client.register_listener(self._events)
        try:
            where = path if isinstance(path, socket) else os.fspath(path)
            self._wait(self._client.connect(where), "the connection")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Qmp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def execute(self, command: str, **arguments: object) -> Any:  # noqa: ANN401
        """Run ``command``; what it returns.

        :raises GuestGoneError: QEMU refuses the command, does not answer, or is gone
        """
        return self._wait(self._client.execute(command, arguments), command)

    def human(self, line: str) -> str:
        """Run a command of the human monitor; its text, which also tells of errors."""
        text: str = self.execute("human-monitor-command", **{"command-line": line})
        return text.replace("\r\n", "\n")

    def events(self) -> list[Event]:
        """What happened until QEMU closes the connection, or ``timeout`` ends."""
        with contextlib.suppress(TimeoutError):
            self._runner.run(asyncio.wait_for(self._closed(), self._timeout))
        return [_event(dict(message)) for message in self._events.history]

    async def _closed(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()

    def close(self) -> None:
        """End the connection; QEMU goes on."""
        try:
            self._runner.run(asyncio.wait_for(self._client.disconnect(), self._timeout))
        except (QMPError, OSError, EOFError):  # it is gone, or does not answer: there is nothing to end
            pass
        finally:
            self._runner.close()

    def _wait(self, doing: Coroutine[Any, Any, _T], what: str) -> _T:
        try:
            return self._runner.run(asyncio.wait_for(doing, self._timeout))
        except TimeoutError as error:
            raise GuestGoneError(
                f"{self.path}: QEMU did not answer {what} within {self._timeout:g} s",
                hint="a monitor serves one client at a time: is another one connected?",
            ) from error
        except ExecuteError as error:
            raise GuestGoneError(f"{self.path}: QEMU refuses {what}: {error}") from error
        except (QMPError, OSError, EOFError) as error:
            raise _gone(self.path, error) from error


def _event(message: dict[str, Any]) -> Event:
    return Event(message["event"], message.get("data", {}))


def _gone(path: Path, error: BaseException) -> GuestGoneError:
    """Why there is no (more) talking to ``path``, by what led to ``error``."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            hint = "start QEMU with -qmp unix:PATH,server=on,wait=off"
            return GuestGoneError(f"{path}: cannot connect: {cause.strerror}", hint=hint)
        if isinstance(cause, ProtocolError):
            return GuestGoneError(f"{path}: what answers there is no QMP monitor")
        cause = cause.__cause__
    return GuestGoneError(f"{path}: QEMU closed the connection")
