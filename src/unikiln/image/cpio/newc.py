"""The ``newc`` format: a header of 110 characters, a name and content, each padded to four bytes.

All numbers are eight hexadecimal digits, so nothing above 4 GiB - 1 can be told: not a file's size, not
a time after 2106. There is no place for extended attributes, nor for parts of a second. The archive ends
with an entry called ``TRAILER!!!``. Names that one file has share its inode and device numbers.
Sources: cpio(5) of libarchive, Linux's Documentation/driver-api/early-userspace/buffer-format.rst, and
for what OSv's cpiod makes of it, its ``tools/cpiod/cpio.cc``.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass

from unikiln.errors import CpioError

MAGIC = b"070701"
TRAILER = b"TRAILER!!!"
ALIGNMENT = 4
HEADER_SIZE = 110
FIELD_MAX = (1 << 32) - 1
PATH_MAX = 4096
"""Longest name, and longest target of a symbolic link, each with a NUL: what Linux takes."""

_LAYOUT = struct.Struct("6s" + 13 * "8s")
_NUMBERS = re.compile(rb"[0-9A-Fa-f]{104}")
_OTHERS = {
    b"070702": "newc with checksums (crc)",
    b"070707": "the old portable format (odc)",
    b"\xc7\x71": "the old binary format",
    b"\x71\xc7": "the old binary format",
    b"\x1f\x8b": "compressed with gzip",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What an entry tells about itself; ``mode`` is the whole ``st_mode``, ``mtime`` in seconds since 1970.

    ``size`` is that of the content that follows, in bytes: of a file with several names, all but one may
    have none. ``inode`` and ``device`` (major, minor) say which names are of one file.
    """

    name: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    nlink: int = 1
    mtime: int = 0
    size: int = 0
    inode: int = 0
    device: tuple[int, int] = (0, 0)
    rdevice: tuple[int, int] = (0, 0)

    def pack(self) -> bytes:
        """The header and the name, padded; content follows, and is padded too.

        :raises CpioError: a number that eight hexadecimal digits cannot tell, or too long a name
        """
        numbers = (
            self.inode, self.mode, self.uid, self.gid, self.nlink, self.mtime, self.size,
            *self.device, *self.rdevice, len(self.name) + 1, 0,
        )  # fmt: skip
        if min(numbers) < 0 or max(numbers) > FIELD_MAX:
            raise CpioError(f"{os.fsdecode(self.name)}: newc has no room for {max(numbers)}")
        if len(self.name) >= PATH_MAX:
            raise CpioError(f"a name of {len(self.name)} bytes", hint=f"{PATH_MAX - 1} are possible")
        text = MAGIC + b"".join(b"%08x" % number for number in numbers) + self.name + b"\0"
        return text + padding(len(text))

    @property
    def is_trailer(self) -> bool:
        """Whether the archive ends here."""
        return self.name == TRAILER


def padding(length: int) -> bytes:
    """The zeros after ``length`` bytes of header and name, or of content."""
    return bytes(-length % ALIGNMENT)


def trailer() -> bytes:
    """The entry that ends an archive."""
    return Header(TRAILER, 0, nlink=1).pack()


def parse(fixed: bytes) -> tuple[Header, int]:
    """A header without its name, and the name's length with its NUL, from ``HEADER_SIZE`` bytes.

    :raises CpioError: they are no header of this format
    """
    magic, numbers = fixed[:6], fixed[6:]
    if magic != MAGIC:
        raise _not_newc(fixed)
    if _NUMBERS.fullmatch(numbers) is None:
        raise CpioError("a header with something else than hexadecimal digits")
    fields = [int(field, 16) for field in _LAYOUT.unpack(fixed)[1:]]
    inode, mode, uid, gid, nlink, mtime, size, major, minor, rmajor, rminor, length, _check = fields
    if not 2 <= length <= PATH_MAX:
        raise CpioError(f"a name of {length} bytes", hint=f"2 to {PATH_MAX} with its NUL are possible")
    return Header(b"", mode, uid, gid, nlink, mtime, size, inode, (major, minor), (rmajor, rminor)), length


def _not_newc(fixed: bytes) -> CpioError:
    for magic, format in _OTHERS.items():
        if fixed.startswith(magic):
            return CpioError(f"the archive is {format}", hint="make it with cpio -o -H newc")
    return CpioError(f"no cpio header but {fixed[:6]!r}")
