"""A Linux guest for x86-64 under QEMU, whose first and only program touches its pages and spins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import judges
from tests.guest_linux.guest import wait_for_end
from tests.guest_linux.initramfs import initramfs
from tests.guest_linux.program import x86_64
from tests.qemu import Running, machine

_COMMAND_LINE = "console=ttyS0 quiet nokaslr nopti"


@contextmanager
def linux_x86_64(folder: Path) -> Iterator[Running]:
    """Boot Debian's kernel on a processor with all that QEMU has, 5-level paging included."""
    kernel = judges.find("linux-amd64")
    assert kernel is not None
    (folder / "initramfs").write_bytes(initramfs({"init": x86_64(b"== end\n")}))
    arguments = ["-M", "q35", "-cpu", "max", "-m", "256", "-kernel", str(kernel)]
    arguments += ["-initrd", str(folder / "initramfs"), "-append", _COMMAND_LINE]
    arguments += ["-serial", f"file:{folder / 'console'}"]
    with machine("qemu-system-x86_64", folder, *arguments) as running:
        wait_for_end(folder / "console")
        yield running
