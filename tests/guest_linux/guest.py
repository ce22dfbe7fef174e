"""A Linux guest under QEMU, with a program whose pages are known, and what Linux itself says about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests import judges
from tests.guest_linux.initramfs import initramfs
from tests.guest_linux.program import HUGE, PAGE, SMALL, Area, aarch64
from tests.qemu import machine, wait_until
from unikiln.base.qmp import Qmp

_MEMORY_MIB = 256
_BOOT_SECONDS = 120
_COMMAND_LINE = "console=ttyAMA0 quiet nokaslr"
"""With random addresses, a processor without E0PD gets tables without the kernel while a program runs."""
_TOLD = (SMALL, HUGE)
"""The areas whose frames Linux is asked for."""
_INIT = """#!/busybox sh
/busybox mkdir /proc /sys
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
echo always >/sys/kernel/mm/transparent_hugepage/enabled
/program &
process=$!
/busybox sleep 1
echo "== maps"
/busybox cat /proc/$process/maps
for area in {areas}; do
    echo "== pagemap $area"
    /busybox dd if=/proc/$process/pagemap bs=8 skip=${{area%:*}} count=${{area#*:}} 2>/dev/null |
        /busybox hexdump -v -e '2/4 "%08x " "\\n"'
done
echo "== end"
exec /busybox sleep 1000000
"""
"""After it, the program is all that runs, on one of two processors; the other is idle, in the kernel."""


class Vma(NamedTuple):
    """A line of /proc/PID/maps."""

    start: int
    end: int
    rights: str


@dataclass(frozen=True, slots=True)
class Guest:
    """The running guest: a monitor for who looks, one for the test, and what Linux said.

    ``frames``: physical addresses of the pages of an area that has any, by the area's start and page number.
    """

    socket: Path
    monitor: Qmp
    vmas: list[Vma]
    frames: dict[int, dict[int, int]]

    @property
    def runs(self) -> bool:
        """Whether the guest is running."""
        running: bool = self.monitor.execute("query-status")["running"]
        return running

    def human(self, line: str, vcpu: int = 0) -> str:
        """A command of the human monitor, about one processor."""
        arguments: dict[str, object] = {"command-line": line, "cpu-index": vcpu}
        text: str = self.monitor.execute("human-monitor-command", **arguments)
        return text.strip()

    def physical(self, va: int, vcpu: int) -> int | None:
        """Where QEMU's MMU finds ``va``, for a load at the processor's present exception level."""
        found = re.fullmatch(r"gpa: (0x[0-9a-f]+)", self.human(f"gva2gpa {va:#x}", vcpu))
        return int(found[1], 16) if found else None

    def exception_level(self, vcpu: int) -> int:
        """The level that the processor is at."""
        found = re.search(r"PSTATE=\S+ \S+ .*?EL(\d)", self.human("info registers", vcpu))
        assert found is not None
        return int(found[1])

    def vcpu_at(self, level: int) -> int:
        """A processor that is at that exception level."""
        return next(vcpu for vcpu in (0, 1) if self.exception_level(vcpu) == level)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the guest for the block, the program in the middle of its loop, so that all see the same."""
        self._stop_in_program()
        try:
            yield
        finally:
            self.monitor.execute("cont")

    def _stop_in_program(self) -> None:
        for _ in range(100):
            self.monitor.execute("stop")
            if {self.exception_level(0), self.exception_level(1)} == {0, 1}:
                return
            self.monitor.execute("cont")
        raise AssertionError("the program does not run")


@contextmanager
def linux_arm64(folder: Path, cpu: str) -> Iterator[Guest]:
    """Boot Debian's kernel on two processors of that model."""
    kernel, busybox = judges.find("linux-arm64"), judges.find("busybox-arm64")
    assert kernel is not None and busybox is not None
    asked = " ".join(f"{area.start // PAGE}:{area.pages}" for area in _TOLD)
    programs = {"busybox": busybox.read_bytes(), "program": aarch64()}
    programs["init"] = _INIT.format(areas=asked).encode()
    (folder / "initramfs").write_bytes(initramfs(programs))
    arguments = ["-M", "virt", "-cpu", cpu, "-smp", "2", "-m", str(_MEMORY_MIB), "-kernel", str(kernel)]
    arguments += ["-initrd", str(folder / "initramfs"), "-append", _COMMAND_LINE]
    arguments += ["-serial", f"file:{folder / 'console'}"]
    arguments += ["-qmp", f"unix:{folder / 'monitor'},server=on,wait=off"]
    with machine("qemu-system-aarch64", folder, *arguments) as running:
        said = wait_for_end(folder / "console")
        with Qmp(folder / "monitor") as monitor:
            yield Guest(
                running.socket, monitor, _vmas(said), {area.start: _frames(said, area) for area in _TOLD}
            )


def wait_for_end(console: Path) -> str:
    """All that the guest wrote to its console, which must end well."""

    def said() -> str:
        return console.read_text(errors="replace") if console.exists() else ""

    wait_until(lambda: "== end" in said() or "Kernel panic" in said(), "Linux boots", _BOOT_SECONDS)
    assert "== end" in said(), said()
    return said().replace("\r", "")


def _section(said: str, title: str) -> list[str]:
    lines = said.split(f"== {title}\n", 1)[1].split("==", 1)[0]
    return lines.strip().splitlines()


def _vmas(said: str) -> list[Vma]:
    found = (re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4})", line) for line in _section(said, "maps"))
    return [Vma(int(each[1], 16), int(each[2], 16), each[3]) for each in found if each]


def _frames(said: str, area: Area) -> dict[int, int]:
    """Linux, Documentation/admin-guide/mm/pagemap.rst: bit 63 is "present", bits 54:0 the frame's number."""
    halves = [line.split() for line in _section(said, f"pagemap {area.start // PAGE}:{area.pages}")]
    entries = [int(high + low, 16) for low, high in halves]
    assert len(entries) == area.pages
    return {page: (entry & (1 << 55) - 1) * PAGE for page, entry in enumerate(entries) if entry >> 63}
