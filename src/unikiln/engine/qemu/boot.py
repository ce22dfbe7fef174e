"""What a guest boots, and with which command line: from the image, the kernel and what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from unikiln.engine.qemu import kvm, osvline, overlay
from unikiln.engine.qemu.options import AARCH64, X86_64, Disk
from unikiln.errors import HostError, PoolNotFoundError, UsageError
from unikiln.image import disk as image_disk
from unikiln.image import kernel as image_kernel
from unikiln.image import mbr
from unikiln.image.container import open_image
from unikiln.image.editing import edited
from unikiln.image.partition import SECTOR

_ELF = b"\x7fELF"
_ELF_MACHINES = {3: X86_64, 62: X86_64, 183: AARCH64}
_BUILD = {AARCH64: "loader.img", X86_64: "loader-stripped.elf"}


@dataclass(frozen=True, slots=True)
class Stored:
    """What an image says itself: ``boots`` if it begins with a boot loader, and its command line."""

    boots: bool
    cmdline: str | None


def look(image: Path) -> Stored:
    """What ``image`` says.

    :raises HostError: it cannot be opened
    :raises ImageError: it is damaged
    """
    disk = open_image(image)
    try:
        sector = disk.read_at(0, min(SECTOR, disk.size))
        has_code = image_kernel.arch_of(sector) == X86_64 and any(sector[:64])
        return Stored(has_code, (mbr.read_text(disk) or None) if has_code else mbr.read_cmdline(disk))
    finally:
        disk.close()


def arch_of_kernel(path: Path) -> str | None:
    """The architecture that a kernel is for, if its first bytes tell.

    :raises HostError: it cannot be read
    """
    try:
        with path.open("rb") as file:
            start = file.read(SECTOR)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error
    if start.startswith(_ELF):
        return _ELF_MACHINES.get(int.from_bytes(start[18:20], "little"))
    return image_kernel.arch_of(start)


def choose_arch(given: str | None, kernel: Path | None, stored: Stored) -> str:
    """The guest's architecture: as given, else the kernel's, else that of the disk's boot loader, else this
    host's.

    :raises UsageError: what was given contradicts the kernel
    """
    found = None if kernel is None else arch_of_kernel(kernel)
    if given and found and given != found:
        raise UsageError(f"{kernel}: is for {found}, not for {given}")
    host = kvm.host_arch()
    known = host if host in _BUILD else AARCH64
    return given or found or (X86_64 if stored.boots else known)


def built_kernel(arch: str, mode: str) -> Path:
    """The kernel in OSv's own build folder below the current one; ``mode`` is ``debug``, ``release`` or
    ``last``.

    :raises UsageError: it is not there
    """
    path = Path("build") / mode / _BUILD[arch]
    if not path.exists():
        raise UsageError(f"no kernel: {path} is not there", hint="name one with --kernel")
    return path


def command_line(
    stored: Stored, image: Path, execute: str | None, program: Sequence[str], options: osvline.LoaderOptions
) -> str:
    """OSv's command line.

    It is ``execute`` as it is, or ``program`` with the loader's options that the image stores (without any:
    ``--rootfs`` by what is in the image), or the image's own; with ``options`` in front.

    :raises UsageError: there is nothing to run, or too much
    """
    known = stored.cmdline or ""
    if execute is not None and program:
        raise UsageError("what to run is given twice", hint="either --execute or -- PROGRAM")
    if execute is not None:
        line = execute
    elif program:
        loader = osvline.loader_part(known) or f"--rootfs={_filesystem(image)}"
        line = f"{loader} {osvline.join(program)}"
    elif known:
        line = known
    else:
        raise UsageError(
            "no program to run: none is given, and the image has no command line",
            hint="unikiln run --engine qemu IMAGE -- PROGRAM ARGUMENTS",
        )
    return osvline.with_options(line, options)


def _filesystem(image: Path) -> str:
    """What ``--rootfs`` names; on a disk that is not known here, what OSv's scripts take."""
    from unikiln.image.opening import only_volume

    disk = open_image(image)
    try:
        return only_volume(disk).kind
    except PoolNotFoundError:
        return "zfs"
    finally:
        disk.close()


@contextmanager
def stored_in_disk(
    disk: Disk, line: str, *, snapshot: bool, instead: Callable[[list[str]], object] | None = None
) -> Iterator[Disk]:
    """The disk to boot from with ``line`` as its command line, for as long as the block runs.

    It is stored in the image itself, as OSv's scripts do; with ``snapshot`` on an overlay, and the image
    stays.

    :raises ImageError: there is no room for one in the image
    """
    if instead is not None:
        instead(["unikiln", "disk", "setargs", str(disk.path), line])
        yield disk
    elif snapshot:
        with TemporaryDirectory(prefix="unikiln-") as folder:
            yield overlay.make(Path(folder) / "overlay.qcow2", disk, line)
    else:
        with edited(disk.path) as device:
            image_disk.set_args(device, line)
        yield disk
