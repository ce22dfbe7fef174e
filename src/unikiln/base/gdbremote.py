"""The remote serial protocol of GDB, as far as QEMU's gdbstub speaks it (GDB manual, appendix E).

It reads a stopped guest: registers by name, and memory, many pieces of it in one round trip.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import NamedTuple

from unikiln.errors import GuestGoneError

_IN_FLIGHT = 64
_LARGEST_REPLY = 1 << 20
_LARGEST_DESCRIPTION = 1 << 22
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
"""QEMU's x86-64 description has registers in comments, which have no numbers."""
_ESCAPED = re.compile(rb"\}(.)", re.DOTALL)


class Register(NamedTuple):
    """A register of the target: what the stub calls it by, and its size."""

    number: int
    bits: int


class Piece(NamedTuple):
    """A piece of memory to read: the address of its first byte, and how many."""

    address: int
    length: int


class GdbRemote:
    """A connection to a gdbstub over ``connection``; ``name`` is what errors call it.

    Connecting stops the guest, and so does every byte that is sent while it runs. Therefore a reply is
    acknowledged together with the next request, never by itself: the last one's ``+`` could arrive after
    the guest was told to continue.
    """

    def __init__(self, connection: socket.socket, name: str, timeout: float = 10.0) -> None:
        self.name = name
        self._connection = connection
        self._connection.settimeout(timeout)
        self._received = bytearray()
        self._missing = 0
        self._largest_packet = 0

    def __enter__(self) -> GdbRemote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the guest stays as it is, stopped or not."""
        self._connection.close()

    def request(self, payload: bytes) -> bytes:
        """Send one packet; the reply to it.

        :raises GuestGoneError: the stub does not answer in time, answers nonsense, or is gone
        """
        return self.requests([payload])[0]

    def requests(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Send many packets at once; their replies.

        A packet in flight costs some 20 microseconds; one that is waited for alone, 60.

        :raises GuestGoneError: as :meth:`request` does
        """
        self._take_replies()  # those that an interrupted call left
        replies: list[bytes] = []
        for start in range(0, len(payloads), _IN_FLIGHT):
            some = payloads[start : start + _IN_FLIGHT]
            self._missing += len(some)
            self._send(b"".join(b"+$%b#%02x" % (payload, sum(payload) & 0xFF) for payload in some))
            replies += self._take_replies()
        return replies

    def _take_replies(self) -> list[bytes]:
        replies = []
        while self._missing:
            replies.append(self._receive())
            self._missing -= 1
        return replies

    def select(self, vcpu: int) -> None:
        """Let what follows be about the virtual processor ``vcpu``, the first being 0.

        :raises GuestGoneError: there is no such processor
        """
        if self.request(b"Hg%x" % (vcpu + 1)) != b"OK":
            raise GuestGoneError(f"{self.name}: the guest has no vcpu {vcpu}")
        # 'p' reads what QEMU last fetched from the accelerator; 'g' makes it fetch (gdbstub/gdbstub.c).
        self.request(b"g")

    @cached_property
    def registers(self) -> dict[str, Register]:
        """All registers of the target, by name, as its description ``target.xml`` lists them."""
        # QEMU's file is no well-formed XML: its xi:include has an undeclared prefix.
        self._ask_packet_size()
        top = self._description("target.xml")
        included = re.findall(r'<xi:include\s+href="([^"]+)"', top)
        return dict(_registers([top, *map(self._description, included)]))

    def read_register(self, name: str) -> int:
        """The value of the register ``name``, of the selected processor.

        :raises GuestGoneError: there is no such register
        """
        register = self.registers.get(name)
        if register is None:
            raise GuestGoneError(f"{self.name}: this guest has no register {name}")
        reply = self.request(b"p%x" % register.number)
        return int.from_bytes(self._unhex(reply, register.bits // 8, f"register {name}"), "little")

    def physical(self, on: bool) -> None:
        """Let memory addresses be physical (QEMU's own ``PhyMemMode``) or those of the selected processor.

        :raises GuestGoneError: the stub does not know that mode
        """
        if self.request(b"Qqemu.PhyMemMode:%d" % on) != b"OK":
            raise GuestGoneError(f"{self.name}: this gdbstub reads no physical memory", hint="QEMU 4.1 can")

    def read_many(self, pieces: Sequence[Piece]) -> list[bytes]:
        """Pieces of memory, at most :attr:`largest_read` bytes each.

        :raises GuestGoneError: some of it cannot be read
        """
        replies = self.requests([b"m%x,%x" % piece for piece in pieces])
        return [
            self._unhex(reply, piece.length, f"memory at {piece.address:#x}")
            for piece, reply in zip(pieces, replies, strict=True)
        ]

    @property
    def largest_read(self) -> int:
        """The most bytes that one packet brings."""
        self._ask_packet_size()
        return self._largest_packet // 2

    def _ask_packet_size(self) -> None:
        if not self._largest_packet:
            found = re.search(rb"PacketSize=([0-9a-fA-F]+)", self.request(b"qSupported:xmlRegisters=i386"))
            if found is None:
                raise self._no_stub()
            self._largest_packet = int(found[1], 16)

    def _description(self, file: str) -> str:
        """A file of the target's description, by pieces of a packet's size."""
        text = b""
        while len(text) < _LARGEST_DESCRIPTION:
            reply = self.request(
                b"qXfer:features:read:%b:%x,%x" % (file.encode(), len(text), self._largest_packet - 5)
            )
            text += _ESCAPED.sub(lambda match: bytes([match[1][0] ^ 0x20]), reply[1:])
            if reply[:1] == b"l":
                return _COMMENT.sub("", text.decode("ascii", "replace"))
            if reply[:1] != b"m" or len(reply) == 1:
                break
        raise GuestGoneError(f"{self.name}: the gdbstub does not describe its target ({file})")

    def _send(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise self._gone(error) from error

    def _receive(self) -> bytes:
        """The content of the next packet.

        Its checksum is not looked at: a local socket loses nothing, and it would take longer than all else.
        """
        received = self._received
        while (end := received.find(b"#")) < 0 or len(received) < end + 3:
            if len(received) > _LARGEST_REPLY:
                raise self._no_stub()
            received += self._receive_some()
        start = received.find(b"$", 0, end)
        payload = bytes(received[start + 1 : end])
        del received[: end + 3]
        if start < 0:
            raise self._no_stub()
        return payload

    def _receive_some(self) -> bytes:
        try:
            data = self._connection.recv(1 << 16)
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise self._gone(None)
        return data

    def _no_stub(self) -> GuestGoneError:
        return GuestGoneError(f"{self.name}: what answers there is no gdbstub")

    def _gone(self, error: OSError | None) -> GuestGoneError:
        if isinstance(error, TimeoutError):
            seconds = self._connection.gettimeout() or 0
            return GuestGoneError(f"{self.name}: the gdbstub did not answer within {seconds:g} s")
        return GuestGoneError(f"{self.name}: the gdbstub closed the connection")

    def _unhex(self, reply: bytes, length: int, what: str) -> bytes:
        try:
            data = bytes.fromhex(reply.decode("ascii"))
        except ValueError:
            data = b""
        if len(data) != length:
            raise GuestGoneError(f"{self.name}: the gdbstub does not give {what}: {reply[:16]!r}")
        return data


def _registers(files: list[str]) -> Iterator[tuple[str, Register]]:
    """Registers in the order of the files; one without a number follows the one before it."""
    number = -1
    for text in files:
        for tag in re.findall(r"<reg\s[^>]*>", text):
            fields: dict[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', tag))
            number = int(fields.get("regnum", number + 1))
            yield fields["name"], Register(number, int(fields.get("bitsize", "64")))
