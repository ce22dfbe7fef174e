"""The options of ``--engine qemu``, and what the verbs that have them do with them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from unikiln.cli.flags import option
from unikiln.engine.qemu.options import Bus, Cache, Hypervisor, Virtio
from unikiln.errors import GuestFailedError, GuestTimeoutError, UsageError

if TYPE_CHECKING:
    from unikiln.engine.qemu.guest import Guest
    from unikiln.engine.qemu.options import Disk, Network, Options, SharedFolder
    from unikiln.engine.qemu.osvline import LoaderOptions
    from unikiln.engine.qemu.outcome import Outcome
    from unikiln.engine.qemu.plan import Command

_FORWARD_API = "tcp::8000-:8000"


def _qemu(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return option(*names, help=help, metavar=metavar, group="QEMU (--engine qemu): what runs")


def _machine(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return option(*names, help=help, metavar=metavar, group="QEMU: the machine")


def _disk(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return option(*names, help=help, metavar=metavar, group="QEMU: disks and folders")


def _network(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return option(*names, help=help, metavar=metavar, group="QEMU: the network")


def _loader(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return option(*names, help=help, metavar=metavar, group="QEMU: for OSv's loader")


def _terminal(*names: str, help: str, metavar: str | None = None) -> Any:  # noqa: ANN401
    return option(*names, help=help, metavar=metavar, group="QEMU: screen and debugger")


_FILE, _TEXT = "FILE", "TEXT"


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuFlags:
    """The options as given: those of OSv's ``run.py`` that touch QEMU, by the same names."""

    kernel: Annotated[
        Path | None,
        _qemu(
            "--kernel", "--kernel-path", metavar=_FILE,
            help="loader.img for AArch64, loader.elf for x86-64. Without one, an x86-64 disk boots itself.",
        ),
    ] = None  # fmt: skip
    kernel_mode: Annotated[
        bool, _qemu("-k", help="Let QEMU load the kernel: --kernel, or that in build/last of this folder.")
    ] = False
    execute: Annotated[
        str | None, _qemu("-e", "--execute", metavar="LINE", help="OSv's command line, instead of PROGRAM.")
    ] = None
    arch: Annotated[
        str | None, _qemu("--arch", metavar="ARCH", help="aarch64 or x86_64; default: the kernel's.")
    ] = None
    hypervisor: Annotated[
        Hypervisor, _qemu("--hypervisor", "-p", help="Default: auto, which is KVM where that works.")
    ] = Hypervisor.auto
    dry_run: Annotated[bool, _qemu("--dry-run", help="Print QEMU's command, and do nothing.")] = False
    debug_build: Annotated[bool, _qemu("-d", help="The kernel in build/debug, not in build/last.")] = False
    release_build: Annotated[bool, _qemu("-r", "--release", help="The kernel in build/release.")] = False
    qemu_path: Annotated[
        str | None, _qemu("--qemu-path", metavar=_FILE, help="QEMU; default: QEMU_PATH, or by its name.")
    ] = None
    pass_args: Annotated[
        list[str] | None, _qemu("--pass-args", metavar=_TEXT, help="More arguments for QEMU; repeatable.")
    ] = None

    vcpus: Annotated[int, _machine("-c", "--vcpus", metavar="N", help="Processors; default: 4.")] = 4
    cpu: Annotated[
        str | None,
        _machine("--cpu", metavar="MODEL", help="Processor; default: host with KVM, else cortex-a57."),
    ] = None
    gic_version: Annotated[
        str | None, _machine("--gic-version", metavar="V", help="Default: 2, or max with KVM.")
    ] = None
    virtio: Annotated[Virtio, _machine("--virtio", help="Version of the devices.")] = Virtio.transitional
    virtio_balloon: Annotated[bool, _machine("--virtio-balloon", help="Attach a memory balloon.")] = False
    pass_pci: Annotated[
        str | None, _machine("--pass-pci", metavar="SLOT", help="Hand a PCI device of the host to the guest.")
    ] = None

    disk_image: Annotated[
        Path | None, _disk("-i", "--image", metavar=_FILE, help="The image, instead of IMAGE.")
    ] = None
    snapshot: Annotated[
        bool, _disk("--snapshot", help="Throw away what the guest writes; the image stays as it is.")
    ] = False
    block_device_cache: Annotated[
        Cache | None,
        _disk("--block-device-cache", help="QEMU's cache; default: none, or writeback without O_DIRECT."),
    ] = None
    virtio_blk_queues: Annotated[
        int, _disk("--virtio-blk-queues", metavar="N", help="Queues of the disk; default: 1.")
    ] = 1
    scsi: Annotated[bool, _disk("--scsi", "-S", help="virtio-scsi instead of virtio-blk.")] = False
    sata: Annotated[bool, _disk("--sata", "-A", help="AHCI instead of virtio-blk (x86-64).")] = False
    ide: Annotated[bool, _disk("--ide", "-I", help="IDE instead of virtio-blk (x86-64).")] = False
    nvme: Annotated[bool, _disk("--nvme", "-N", help="NVMe instead of virtio-blk.")] = False
    second_disk_image: Annotated[
        Path | None, _disk("--second-disk-image", metavar=_FILE, help="A second disk.")
    ] = None
    second_nvme_image: Annotated[
        Path | None, _disk("--second-nvme-image", metavar=_FILE, help="A disk to attach as NVMe.")
    ] = None
    cloud_init_image: Annotated[
        Path | None, _disk("--cloud-init-image", metavar=_FILE, help="A disk for cloud-init.")
    ] = None
    virtio_fs_dir: Annotated[
        Path | None, _disk("--virtio-fs-dir", metavar="DIR", help="Share a folder by virtiofsd.")
    ] = None
    virtio_fs_tag: Annotated[
        str | None, _disk("--virtio-fs-tag", metavar="TAG", help="Its name in the guest; default: myfs.")
    ] = None
    virtio_fs_dax: Annotated[
        str | None, _disk("--virtio-fs-dax", metavar="SIZE", help="Window for direct access to it.")
    ] = None

    forward: Annotated[
        list[str] | None,
        _network(
            "--forward", metavar="RULE",
            help="Forward a port, as QEMU's hostfwd: tcp::2222-:22; host port 0 is any that is free.",
        ),
    ] = None  # fmt: skip
    api: Annotated[bool, _network("--api", help=f"Forward OSv's API: {_FORWARD_API}.")] = False
    networking: Annotated[
        bool, _network("-n", "--networking", help="A bridge, or --tap, instead of QEMU's user network.")
    ] = False
    bridge: Annotated[
        str, _network("-b", "--bridge", metavar="NAME", help="The bridge of -n; default: virbr0.")
    ] = "virbr0"
    tap: Annotated[str | None, _network("-t", "--tap", metavar="NAME", help="The tap interface of -n.")] = (
        None
    )
    vhost: Annotated[bool, _network("-v", "--vhost", help="Use vhost with --tap.")] = False
    nics: Annotated[int, _network("--nics", metavar="N", help="Network cards; default: 1.")] = 1
    mac: Annotated[str | None, _network("--mac", metavar="ADDRESS", help="The card's address.")] = None
    vmxnet3: Annotated[bool, _network("--vmxnet3", "-3", help="vmxnet3 instead of virtio-net.")] = False

    verbose: Annotated[bool, _loader("-V", "--verbose", help="Messages of the kernel, too.")] = False
    power_off_on_abort: Annotated[
        bool, _loader("--power-off-on-abort", help="Power off after an abort, and do not halt.")
    ] = False
    mount_fs: Annotated[
        list[str] | None, _loader("--mount-fs", metavar="TYPE,URL,PATH", help="Mount more; repeatable.")
    ] = None
    ip: Annotated[
        list[str] | None, _loader("--ip", metavar="NIC,ADDRESS,MASK", help="A fixed address; repeatable.")
    ] = None
    trace_backtrace: Annotated[bool, _loader("--trace-backtrace", help="Backtraces at tracepoints.")] = False
    sampler: Annotated[int | None, _loader("--sampler", metavar="HZ", help="Start the profiler.")] = None
    bootchart: Annotated[bool, _loader("--bootchart", help="Time the boot.")] = False

    signals: Annotated[
        bool,
        _terminal(
            "--with-signals/--pass-signals", "-s",
            help="Ctrl-C ends QEMU (default), or is a key like others and Ctrl-A X ends it.",
        ),
    ] = True  # fmt: skip
    vnc: Annotated[str | None, _terminal("--vnc", metavar="WHERE", help="Serve VNC there, such as :1.")] = (
        None
    )
    novnc: Annotated[bool, _terminal("--novnc", help="No VNC (default).")] = False
    graphics: Annotated[bool, _terminal("-g", "--graphics", help="A window with the screen (SDL).")] = False
    gdb: Annotated[
        str | None, _terminal("--gdb", metavar="PORT", help="Let gdb attach there: a port, or QEMU's syntax.")
    ] = None
    nogdb: Annotated[bool, _terminal("--nogdb", help="No gdb (default).")] = False
    wait: Annotated[bool, _terminal("-w", "--wait", help="Do not start until gdb or a monitor says so.")] = (
        False
    )
    no_shutdown: Annotated[
        bool, _terminal("-H", "--no-shutdown", help="Keep QEMU when the guest has ended, to look into it.")
    ] = False

    @property
    def bus(self) -> Bus:
        """What the disk is attached to.

        :raises UsageError: to two things
        """
        wanted = [bus for bus in (Bus.scsi, Bus.sata, Bus.ide, Bus.nvme) if getattr(self, bus.value)]
        if len(wanted) > 1:
            raise UsageError(f"--{wanted[0]} and --{wanted[1]}: a disk has one bus")
        return wanted[0] if wanted else Bus.virtio


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What ``run`` has for every engine; ``timeout`` in seconds."""

    image: Path
    program: list[str]
    memory: int
    env: list[str]
    cwd: str | None
    trace: list[str]
    timeout: float | None


def run_qemu(flags: QemuFlags, shared: Shared) -> None:
    """Run the guest, with the terminal as its console.

    :raises GuestFailedError: it did not end by itself, or not well
    :raises GuestTimeoutError: it was ended because it took too long
    """
    from unikiln.engine.qemu import session, terminal

    terms = session.Terms(
        timeout=shared.timeout,
        paused=flags.wait,
        wait_when_halted=flags.no_shutdown or flags.wait or _gdb(flags) is not None,
    )
    keys = _standard_input()
    with ExitStack() as stack:
        commands = _commands(flags, shared, stack)
        if flags.dry_run:
            _print(commands[0])
            return
        stack.enter_context(_ended_by_signals())
        if keys is not None:
            stack.enter_context(terminal.raw_keys(keys, signals=flags.signals))
        outcome = session.run(commands, terms, say=_say, complain=_complain, keys=keys, started=_tell_ports)
    _raise_unless_well(outcome)


def _commands(flags: QemuFlags, shared: Shared, stack: ExitStack) -> tuple[Command, ...]:
    from unikiln.engine.qemu.plan import plan

    return plan(_options(flags, shared, stack), flags.hypervisor, flags.qemu_path)


def _options(flags: QemuFlags, shared: Shared, stack: ExitStack) -> Options:
    from unikiln.engine.qemu import boot, host
    from unikiln.engine.qemu.options import Options

    stored = boot.look(shared.image)
    if flags.arch not in (None, "aarch64", "x86_64"):
        raise UsageError(f"--arch {flags.arch}: is neither aarch64 nor x86_64")
    arch = boot.choose_arch(flags.arch, flags.kernel, stored)
    mode = "debug" if flags.debug_build else "release" if flags.release_build else "last"
    needs_kernel = flags.kernel_mode or flags.hypervisor is Hypervisor.qemu_microvm or not stored.boots
    kernel = flags.kernel or (boot.built_kernel(arch, mode) if needs_kernel else None)
    writable = not flags.snapshot
    show = _print if flags.dry_run else None
    disk = host.disk(shared.image, writable=writable)
    line = boot.command_line(
        stored, shared.image, flags.execute, shared.program, _loader_options(flags, shared)
    )
    if kernel is None and line != (stored.cmdline or ""):
        disk = stack.enter_context(boot.stored_in_disk(disk, line, snapshot=flags.snapshot, instead=show))

    def other(path: Path | None) -> Disk | None:
        return None if path is None else host.disk(path, writable=writable)

    return Options(
        arch=arch,
        disk=disk,
        kernel=kernel and kernel.absolute(),
        command_line=line,
        memory=shared.memory,
        cpus=flags.vcpus,
        cpu=flags.cpu,
        gic_version=flags.gic_version,
        bus=flags.bus,
        virtio=flags.virtio,
        queues=flags.virtio_blk_queues,
        cache=flags.block_device_cache,
        snapshot=flags.snapshot,
        cloud_init=other(flags.cloud_init_image),
        second_disk=other(flags.second_disk_image),
        second_nvme=other(flags.second_nvme_image),
        network=_cards(flags),
        shared_folder=_shared_folder(flags, stack),
        pass_pci=flags.pass_pci,
        balloon=flags.virtio_balloon,
        vnc=None if flags.novnc or flags.vnc == "none" else flags.vnc,
        graphics=flags.graphics,
        gdb=_gdb(flags),
        wait=flags.wait,
        no_shutdown=flags.no_shutdown,
        monitor=sys.stdin is not None and sys.stdin.isatty(),
        extra=_split(flags.pass_args or []),
    )


def _gdb(flags: QemuFlags) -> str | None:
    return None if flags.nogdb else flags.gdb


def _split(texts: list[str]) -> tuple[str, ...]:
    import shlex

    try:
        return tuple(word for text in texts for word in shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--pass-args: {error}") from error


def _loader_options(flags: QemuFlags, shared: Shared) -> LoaderOptions:
    from unikiln.engine.qemu import host
    from unikiln.engine.qemu.osvline import LoaderOptions

    has_address = bool(flags.ip) or "--ip=" in (flags.execute or "")
    addresses = host.tap_addresses(flags.tap) if flags.networking and flags.tap and not has_address else None
    return LoaderOptions(
        verbose=flags.verbose,
        trace=tuple(shared.trace),
        trace_backtrace=flags.trace_backtrace,
        sampler=flags.sampler,
        nopci=flags.hypervisor is Hypervisor.qemu_microvm,
        mount_fs=tuple(flags.mount_fs or ()),
        ip=tuple(flags.ip or ()),
        tap=addresses,
        bootchart=flags.bootchart,
        power_off_on_abort=flags.power_off_on_abort,
        env=tuple(shared.env),
        cwd=shared.cwd,
    )


def _cards(flags: QemuFlags) -> Network:
    from unikiln.engine.qemu import host
    from unikiln.engine.qemu.options import Network

    if (flags.tap or flags.vhost) and not flags.networking:
        raise UsageError("--tap and --vhost are for -n")
    if flags.vhost and not flags.tap:
        raise UsageError("--vhost needs --tap")
    bridge = flags.bridge if flags.networking and not flags.tap else None
    return Network(
        cards=flags.nics,
        forward=(*([_FORWARD_API] if flags.api else []), *(flags.forward or ())),
        bridge=bridge,
        helper=host.bridge_helper() if bridge else None,
        tap=flags.tap,
        vhost=flags.vhost,
        vmxnet3=flags.vmxnet3,
        mac=flags.mac,
    )


def _shared_folder(flags: QemuFlags, stack: ExitStack) -> SharedFolder | None:
    from unikiln.engine.qemu import host
    from unikiln.engine.qemu.options import SharedFolder

    if flags.virtio_fs_dir is None:
        if flags.virtio_fs_tag or flags.virtio_fs_dax:
            raise UsageError("--virtio-fs-tag and --virtio-fs-dax are for --virtio-fs-dir")
        return None
    start = host.virtiofsd(flags.virtio_fs_dir, _print if flags.dry_run else None)
    tag = flags.virtio_fs_tag or "myfs"
    return SharedFolder(tag=tag, socket=stack.enter_context(start), dax=flags.virtio_fs_dax)


def _print(command: Sequence[str]) -> None:
    from unikiln.engine.qemu.command import quoted

    print(quoted(command))


def _tell_ports(guest: Guest) -> None:
    for each in guest.forwards():
        print(
            f"unikiln: {each.protocol} port {each.outside} leads to the guest's {each.inside}",
            file=sys.stderr,
        )


def _standard_input() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):  # closed, or something that is no file
        return None


def _say(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _complain(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: what was started ends, and the terminal comes
    back.
    """

    def leave(number: int, frame: object) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_unless_well(outcome: Outcome) -> None:
    from unikiln.engine.qemu.outcome import End

    if outcome.end is End.timeout:
        raise GuestTimeoutError(outcome.reason)
    if outcome.status:
        raise GuestFailedError(outcome.reason, exit_status=outcome.status, report=outcome.report)
