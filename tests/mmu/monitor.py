"""A monitor that is no QEMU: it answers what a test says, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

GREETING = {
    "QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}
}
TREE = """FlatView #0
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000009000000-0000000009000fff (prio 0, i/o): pl011
  0000000040000000-000000004000ffff (prio 0, ram): mach-virt.ram
"""

Answer = Callable[[dict[str, Any]], Any]


class Monitor:
    """A talk for :func:`tests.servers.serve`. The guest runs, on two AArch64 processors.

    ``answers`` replace what it says to a command; one that raises ``ConnectionError`` closes the connection.
    """

    def __init__(self, stub: Path, **answers: Answer) -> None:
        self.asked: list[str] = []
        self.runs = True
        chardev = {"label": "gdb", "filename": f"disconnected:unix:{stub},server=on"}
        self._answers: dict[str, Answer] = {
            "qmp_capabilities": lambda _: {},
            "query-status": lambda _: {"running": self.runs},
            "query-target": lambda _: {"arch": "aarch64"},
            "query-cpus-fast": lambda _: [{"cpu-index": n, "qom-path": f"/cpu{n}"} for n in (0, 1)],
            "query-chardev": lambda _: [chardev],
            "human-monitor-command": lambda _: TREE.replace("\n", "\r\n"),
            "stop": self._stop,
            "cont": self._cont,
        }
        self._answers |= {name.replace("_", "-"): answer for name, answer in answers.items()}

    def __call__(self, connection: socket.socket) -> None:
        """Talk until the client ends it."""
        self._send(connection, GREETING)
        while data := connection.recv(1 << 16):  # the client waits for each reply: this is one command
            message = json.loads(data)
            self.asked.append(message["execute"])
            try:
                answer = self._answers[message["execute"]](message.get("arguments", {}))
            except ConnectionError:
                connection.shutdown(socket.SHUT_RDWR)
                return
            reply = {"return": answer}
            self._send(connection, reply | ({"id": message["id"]} if "id" in message else {}))

    def _stop(self, _: dict[str, Any]) -> Any:  # noqa: ANN401
        self.runs = False
        return {}

    def _cont(self, _: dict[str, Any]) -> Any:  # noqa: ANN401
        self.runs = True
        return {}

    @staticmethod
    def _send(connection: socket.socket, message: object) -> None:
        connection.sendall(json.dumps(message).encode() + b"\n")
