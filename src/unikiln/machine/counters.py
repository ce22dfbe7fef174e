"""What the machine counts while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Plain counts; pages are of 4 KiB, faults are exceptions delivered to ``page_fault``."""

    translation_faults: int = 0
    access_flag_faults: int = 0
    permission_faults: int = 0
    kernel_faults: int = 0
    """Of all faults: those taken while a system call touched the program's memory."""
    flags_cleared: int = 0
    scans: int = 0
    bytes_read: int = 0
    """What system calls and page faults read from files of the image and from ``/tmp``."""
    bytes_written: int = 0
    system_calls: dict[str, int] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        """Faults of every kind."""
        return self.translation_faults + self.access_flag_faults + self.permission_faults
