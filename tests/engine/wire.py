"""A wire that breaks: what stands between the sender and a guest's port."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

from unikiln.engine.builder.guest import BuilderGuest, Ending, Say


class Wire:
    """Passes on what ``guest`` is sent, up to ``cut`` bytes; then ``how``: ``end``, ``reset`` or ``stall``.

    ``pause`` seconds after each ``step`` bytes make it slow. It is the guest, too, for whoever sends.
    """

    def __init__(
        self,
        guest: BuilderGuest,
        *,
        cut: int | None = None,
        how: str = "end",
        step: int = 1 << 16,
        pause: float = 0,
    ) -> None:
        self._guest = guest
        self._cut = cut
        self._how = how
        self._step = step
        self._pause = pause
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._over = threading.Event()
        self.keeps_everything = guest.keeps_everything
        self.early = True
        self.passed = 0

    @property
    def port(self) -> int:
        port: int = self._server.getsockname()[1]
        return port

    def start(self, say: Say) -> None:
        self._guest.start(say)
        self._thread.start()

    def wait(self, seconds: float) -> Ending | None:
        return self._guest.wait(seconds)

    def end(self) -> None:
        self._over.set()
        self._guest.end()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            sender, _ = self._server.accept()
            receiver = socket.create_connection(("127.0.0.1", self._guest.port))
            with sender, receiver:
                if self._pass(sender, receiver):
                    receiver.shutdown(socket.SHUT_WR)
                    while not self._over.is_set() and receiver.recv(1):
                        pass
                    sender.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _pass(self, sender: socket.socket, receiver: socket.socket) -> bool:
        """Pass all on; whether it came to the end."""
        while self._cut is None or self.passed < self._cut:
            left = self._step if self._cut is None else min(self._step, self._cut - self.passed)
            data = sender.recv(left)
            if not data:
                return True
            receiver.sendall(data)
            self.passed += len(data)
            time.sleep(self._pause)
        if self._how == "stall":
            self._over.wait()
        elif self._how == "reset":
            _reset(sender)
            _reset(receiver)
        return False


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
