"""Programs of others that judge what unikiln writes: where they are, and what happens without them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REQUIRED = os.environ.get("UNIKILN_JUDGES") == "required"

BUSYBOX_ARM64 = Path(os.environ.get("UNIKILN_BUSYBOX", "/var/cache/unikiln-judges/busybox-arm64"))

PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "busybox-arm64": "busybox-static:arm64",
    "getfattr": "attr",
    "grub-fstest": "grub-common",
    "mke2fs": "e2fsprogs",
    "mksquashfs": "squashfs-tools",
    "qemu-aarch64": "qemu-user",
    "qemu-img": "qemu-utils",
    "qemu-system-aarch64": "qemu-system-arm",
    "sfdisk": "fdisk",
    "zdb": "zfsutils-linux",
    "zstd": "zstd",
    "ztest": "zfs-test",
}
"""The Debian package of each judge."""

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def find(program: str) -> Path | None:
    """Where ``program`` is, if it is installed."""
    if program == "busybox-arm64":
        return BUSYBOX_ARM64 if BUSYBOX_ARM64.is_file() else None
    found = shutil.which(program, path=_PATH)
    return Path(found) if found else None


def absent(program: str) -> str:
    """Why a test that needs ``program`` cannot run."""
    return f"needs {program} (Debian package {PACKAGES.get(program, program)})"


def run(
    program: str, *arguments: str | os.PathLike[str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a judge to its end; its output is in what comes back, and in the failure if it fails."""
    path = find(program)
    assert path is not None, absent(program)
    done = subprocess.run([path, *arguments], capture_output=True, text=True, errors="replace", check=False)
    assert not check or done.returncode == 0, (
        f"{program} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done
