"""The archive that Linux unpacks as its first file system (Documentation/driver-api/early-userspace)."""

from __future__ import annotations

from typing import NamedTuple

_DIRECTORY, _PROGRAM, _DEVICE = 0o40755, 0o100755, 0o20600


class Entry(NamedTuple):
    """A file of the archive; ``device`` is major and minor of a node."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def initramfs(programs: dict[str, bytes]) -> bytes:
    """An archive with these programs in the root, and the devices that a shell needs."""
    entries = [Entry("dev", _DIRECTORY), Entry("dev/console", _DEVICE, device=(5, 1))]
    entries.append(Entry("dev/null", _DEVICE, device=(1, 3)))
    entries += [Entry(name, _PROGRAM, content) for name, content in programs.items()]
    entries.append(Entry("TRAILER!!!", 0))
    return b"".join(_packed(number, entry) for number, entry in enumerate(entries, 1))


def _packed(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
