"""Every error that unikiln raises for a reason a person can act on.

::

    UnikilnError                     exit status 1
    ├── UsageError                   exit status 2: a flag, a size or a name that makes no sense
    ├── HostError                    the host refused: missing file, no permission, disk full
    ├── ImageError                   a container or a partition table that cannot be used
    │   ├── ManifestError            a manifest line, or the files it names
    │   ├── CpioError                a newc archive that lies or ends early, or a file that it cannot hold
    │   └── UploadError              an upload that did not come to its end, or did not arrive as sent
    ├── ZfsError
    │   ├── PoolNotFoundError        no label, no usable uberblock, or no such dataset
    │   ├── CorruptError             bytes that are not what the format says
    │   │   └── ChecksumError        a block whose every copy fails its checksum
    │   │       └── AuthenticationError  a block that is not what the holder of the key wrote
    │   ├── EncryptionKeyError       an encrypted dataset that cannot be read
    │   │   ├── KeyMissingError      the key of its encryption root was not given
    │   │   └── WrongKeyError        what was given is not that key
    │   ├── UnsupportedError         a feature, version, checksum or compression we do not know
    │   ├── NoSpaceError             the pool is full (also an OSError, ENOSPC)
    │   ├── PathNotFoundError        also a FileNotFoundError
    │   ├── NotADirectoryInPoolError also a NotADirectoryError
    │   └── IsADirectoryInPoolError  also an IsADirectoryError
    ├── MmuError                     a translation table that cannot be walked or changed
    │   └── GuestGoneError           the guest under QEMU that holds it cannot be asked (any more)
    └── MachineError
        ├── ElfError                 a program that this machine cannot load
        ├── GuestMemoryError         the machine ran out of page frames
        ├── GuestCrashError          the guest died of an exception; carries the report
        ├── GuestFailedError         a guest under QEMU ended, but not well; carries what it said
        └── GuestTimeoutError        the guest was ended because it took too long

An error says what is wrong and where; ``hint`` says what to do. The command line prints both on
one line and exits with ``exit_status``.
"""

from __future__ import annotations

import builtins
import errno


class UnikilnError(Exception):
    """The root of the tree: ``message`` says what is wrong and where, ``hint`` what to do."""

    exit_status = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(UnikilnError):
    """A flag or an argument that makes no sense."""

    exit_status = 2


class HostError(UnikilnError):
    """The host's operating system refused something."""


class ImageError(UnikilnError):
    """A disk image, its container or its partition table cannot be used."""


class ManifestError(ImageError):
    """A manifest cannot be parsed, or names files that are not there.

    ``problems`` are all of them, a line each; ``message`` has them all, too.
    """

    def __init__(self, message: str, *, hint: str | None = None, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems or (str(self),)


class CpioError(ImageError):
    """A newc archive that is none, lies or ends early; or a file that no such archive can hold."""


class UploadError(ImageError):
    """An upload that did not come to its end, or that did not arrive as it was sent."""


class ZfsError(UnikilnError):
    """Anything about a pool."""


class PoolNotFoundError(ZfsError):
    """There is no pool (or no such dataset) to open."""


class CorruptError(ZfsError):
    """Bytes on disk that contradict the on-disk format."""


class ChecksumError(CorruptError):
    """No copy of a block has the checksum that its block pointer states."""


class AuthenticationError(ChecksumError):
    """A block of an encrypted dataset whose message authentication code is not that of its content."""


class EncryptionKeyError(ZfsError):
    """An encrypted dataset that cannot be read for want of its key; ``root`` is its encryption root."""

    def __init__(self, message: str, *, hint: str | None = None, root: str = "") -> None:
        super().__init__(message, hint=hint)
        self.root = root


class KeyMissingError(EncryptionKeyError):
    """The key of an encryption root was not given."""


class WrongKeyError(EncryptionKeyError):
    """What was given for an encryption root is not its key."""


class UnsupportedError(ZfsError):
    """A feature, version, checksum or compression that unikiln does not know."""


class _PoolOSError(ZfsError, OSError):
    """A pool error that is an :class:`OSError` too, so that ``except OSError`` finds it."""

    code = errno.EIO

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        ZfsError.__init__(self, message, hint=hint)
        self.errno = self.code
        self.strerror = message

    __str__ = UnikilnError.__str__


class NoSpaceError(_PoolOSError):
    """The pool has no room for what is written to it."""

    code = errno.ENOSPC


class PathNotFoundError(_PoolOSError, builtins.FileNotFoundError):
    """No such file or directory in the dataset."""

    code = errno.ENOENT


class NotADirectoryInPoolError(_PoolOSError, builtins.NotADirectoryError):
    """A path goes through something that is not a directory."""

    code = errno.ENOTDIR


class IsADirectoryInPoolError(_PoolOSError, builtins.IsADirectoryError):
    """A directory where a file is needed."""

    code = errno.EISDIR


class MmuError(UnikilnError):
    """A translation table that cannot be walked or changed."""


class GuestGoneError(MmuError):
    """A guest's monitor or gdbstub is not there, refuses, does not answer in time or goes away."""


class MachineError(UnikilnError):
    """The embedded machine cannot do what was asked."""


class ElfError(MachineError):
    """A program that this machine cannot load."""


class GuestMemoryError(MachineError):
    """The machine has no page frame left."""


class GuestCrashError(MachineError):
    """The guest died of an exception that nothing in it handles.

    ``report`` has registers, the decoded syndrome and the mapping that was hit, in several lines;
    ``exit_status`` is 128 and the signal's number.
    """

    def __init__(self, message: str, *, report: str, signal: int) -> None:
        super().__init__(message)
        self.report = report
        self.exit_status = 128 + signal


class GuestFailedError(MachineError):
    """A guest under QEMU did not end by itself, or not well.

    ``report`` is what its console said of a crash, or empty; ``exit_status`` is what becomes of ours.
    """

    def __init__(self, message: str, *, exit_status: int, report: str = "") -> None:
        super().__init__(message)
        self.report = report
        self.exit_status = exit_status


class GuestTimeoutError(MachineError):
    """The guest was ended because it took longer than it was given."""

    exit_status = 124  # as timeout(1) has it
