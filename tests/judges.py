"""Programs of others that judge what unikiln writes: where they are, and what happens without them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REQUIRED = os.environ.get("UNIKILN_JUDGES") == "required"

UNPACKED = Path(os.environ.get("UNIKILN_UNPACKED", "/var/cache/unikiln-judges"))
"""Where .ci/run puts what runs in guests, by its names there."""

BUSYBOX_ARM64 = UNPACKED / "busybox-arm64"

PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-readelf": "binutils-aarch64-linux-gnu",
    "busybox-arm64": "busybox-static:arm64",
    "chmod": "coreutils",
    "cpio": "cpio",
    "getfattr": "attr",
    "grub-fstest": "grub-common",
    "ldd": "libc-bin",
    "linux-amd64": "linux-image-cloud-amd64",
    "linux-arm64": "linux-image-cloud-arm64:arm64",
    "llvm-strip": "llvm",
    "make": "make",
    "mke2fs": "e2fsprogs",
    "mksquashfs": "squashfs-tools",
    "qemu-aarch64": "qemu-user",
    "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "sfdisk": "fdisk",
    "x86_64-linux-gnu-gcc": "gcc-x86-64-linux-gnu",
    "tar": "tar",
    "zdb": "zfsutils-linux",
    "zstd": "zstd",
    "ztest": "zfs-test",
}
"""The Debian package of each judge."""

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def find(program: str) -> Path | None:
    """Where ``program`` is, if it is installed."""
    if (UNPACKED / program).is_file():
        return UNPACKED / program
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
