"""What a guest takes from its host: image files, a bridge's helper, a tap interface's address, virtiofsd."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory

from unikiln.base.process import die_with_parent
from unikiln.engine.qemu.options import Disk
from unikiln.errors import HostError, UsageError
from unikiln.image.qcow2 import MAGIC

_FOLDERS = ("/usr/libexec", "/usr/lib/qemu")
_VIRTIOFSD_SECONDS = 10.0
_EXAMPLE = Path("/tmp/virtiofs")


def disk(path: Path, *, writable: bool = True) -> Disk:
    """The image at ``path``, by what is in it.

    :raises HostError: it cannot be opened as it has to be
    """
    real = path.absolute()
    try:
        with real.open("rb") as file:
            form = "qcow2" if file.read(len(MAGIC)) == MAGIC else "raw"
        if writable and not os.access(real, os.W_OK):
            raise HostError(f"{path}: cannot be written", hint="--snapshot leaves it as it is")
        return Disk(real, form, _is_direct(real))
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error


def _is_direct(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def bridge_helper() -> Path:
    """QEMU's program that attaches a guest to a bridge.

    :raises HostError: it is not installed
    """
    return _helper("qemu-bridge-helper", "qemu-system-common")


def tap_addresses(interface: str) -> tuple[IPv4Address, IPv4Address]:
    """The host's address on a tap interface, and the guest's: the one behind it.

    :raises UsageError: no such interface, or it has no address
    """
    if re.fullmatch(r"[^\s/]{1,15}", interface) is None:
        raise UsageError(f"{interface!r} is no name of an interface")
    show = ["ip", "-4", "-oneline", "address", "show", "dev", interface]
    try:
        said = subprocess.run(show, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError as error:
        raise HostError("ip is not installed", hint="Debian has it in the package iproute2") from error
    found = re.search(r"\binet (\d+\.\d+\.\d+\.\d+)", said)
    if found is None:
        hint = f"ip tuntap add {interface} mode tap; ip address add 172.18.0.1/30 dev {interface}"
        raise UsageError(f"there is no tap interface {interface} with an address", hint=hint)
    address = IPv4Address(found[1])
    return address, address + 1


@contextmanager
def virtiofsd(folder: Path, instead: Callable[[list[str]], object] | None = None) -> Iterator[Path]:
    """A socket at which virtiofsd shares ``folder`` until the block ends; nobody else can reach it.

    ``instead`` gets the command where it shall not be started; the name of the socket is then an example.

    :raises HostError: virtiofsd is not installed, or does not start
    """
    if not folder.is_dir():
        raise HostError(f"{folder}: is no directory")
    if instead is not None:
        instead(_virtiofsd(Path("virtiofsd"), _EXAMPLE, folder))
        yield _EXAMPLE
        return
    program = _helper("virtiofsd", "virtiofsd")
    with TemporaryDirectory(prefix="unikiln-") as private:
        socket = Path(private) / "virtiofs"
        command = _virtiofsd(program, socket, folder)
        log = socket.with_suffix(".log")
        with log.open("wb") as said:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                process_group=0,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock
            )
        try:
            _wait_for(socket, server, log)
            yield socket
        finally:
            server.kill()
            server.wait()


def _virtiofsd(program: Path, socket: Path, folder: Path) -> list[str]:
    return [str(program), f"--socket-path={socket}", "-o", f"source={folder.absolute()}"]


def _wait_for(socket: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _VIRTIOFSD_SECONDS
    while not socket.exists():
        if server.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            raise HostError(f"virtiofsd exited {server.returncode}" + (f": {said[-1]}" if said else ""))
        if time.monotonic() > end:
            raise HostError(f"virtiofsd does not listen after {_VIRTIOFSD_SECONDS:g} s")
        time.sleep(0.01)


def _helper(name: str, package: str) -> Path:
    path = os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS])
    found = shutil.which(name, path=path)
    if found is None:
        raise HostError(f"{name} is not installed", hint=f"Debian has it in the package {package}")
    return Path(found)
