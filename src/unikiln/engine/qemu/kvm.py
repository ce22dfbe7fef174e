"""Whether this host's processor can execute the guest itself (Linux, Documentation/virt/kvm/api.rst)."""

from __future__ import annotations

import fcntl
import os
import platform

from unikiln.engine.qemu.options import AARCH64, X86_64, Hypervisor
from unikiln.errors import UsageError

_DEVICE = "/dev/kvm"
_GET_API_VERSION, _API_VERSION = 0xAE00, 12
_ARCHITECTURES = {"aarch64": AARCH64, "arm64": AARCH64, "x86_64": X86_64, "amd64": X86_64}


def host_arch() -> str:
    """The architecture of this host, by the name that QEMU has for it."""
    name = platform.machine().lower()
    return _ARCHITECTURES.get(name, name)


def obstacle(arch: str) -> str | None:
    """Why a guest of ``arch`` cannot run under KVM here; None: it can."""
    if arch != host_arch():
        return f"the guest is for {arch}, this host is {host_arch()}"
    try:
        device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{_DEVICE}: {error.strerror}"
    try:
        version = fcntl.ioctl(device, _GET_API_VERSION)
    except OSError as error:
        return f"{_DEVICE}: {error.strerror}"
    finally:
        os.close(device)
    return None if version == _API_VERSION else f"{_DEVICE}: version {version} of the interface"


def choose(wanted: Hypervisor, arch: str) -> bool:
    """Whether to use KVM.

    :raises UsageError: it is asked for and cannot be
    """
    if wanted is Hypervisor.qemu:
        return False
    why = obstacle(arch)
    if why and wanted is Hypervisor.kvm:
        raise UsageError(f"no KVM: {why}", hint="--hypervisor qemu runs anywhere")
    return why is None
