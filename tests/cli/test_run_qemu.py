"""``unikiln run --engine qemu`` as a person uses it: flags, the terminal, signals, what is left behind."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.osv_like.kernel import build, build_boot_disk
from tests.qemu import wait_until
from unikiln.cli.main import main
from unikiln.image.container import create_image
from unikiln.image.mbr import write_disk

ARM, COMPILER = "qemu-system-aarch64", "aarch64-linux-gnu-gcc"
X86, X86_COMPILER = "qemu-system-x86_64", "x86_64-linux-gnu-gcc"
PROGRAM = [sys.executable, "-c", "import sys; from unikiln.cli.main import main; sys.exit(main())"]
judged = pytest.mark.judge(ARM, COMPILER)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.touch()
    device = create_image(path, "raw")
    device.truncate(2 << 20)
    write_disk(device, 1 << 20, 1 << 20, "--rootfs=zfs /hello there")
    device.flush()
    device.close()
    return path


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("aarch64", tmp_path_factory.mktemp("kernel") / "loader.img")


def run(*arguments: str | Path, data: bytes = b"", check: int | None = 0) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "run", "--engine", "qemu", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, input=data, check=False)
    out, err = done.stdout.decode().replace("\r", ""), done.stderr.decode()
    assert check in (None, done.returncode), f"exit status {done.returncode}\n{out}{err}"
    return subprocess.CompletedProcess(command, done.returncode, out, err)


def dry(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["run", "--engine", "qemu", "--dry-run", *map(str, arguments)]) == 0
    return capsys.readouterr().out


@judged
def test_the_command_line_of_the_image(image: Path, kernel: Path) -> None:
    done = run(image, "--kernel", kernel)
    assert done.stdout == ("OSv v0.0 (a stand-in)\nCmdline: /hello there\nHello from C code\nPowering off.\n")
    assert done.stderr == ""


@judged
def test_a_program_and_options_for_the_loader(image: Path, kernel: Path) -> None:
    given = (image, "--kernel-path", kernel, "-k", "-V", "-m", "128M", "-c", "2", "-s")
    done = run(*given, "--", "/echo", "a b", "--verbose")
    assert done.stdout.splitlines()[1:4] == ['Cmdline: /echo "a b" --verbose', "[a b]", "[--verbose]"]
    done = run("-i", image, "--kernel", kernel, "-e", "/machine", "-m", "128M", "-c", "2")
    assert {"memory 128 MiB", "processors 2"} <= set(done.stdout.splitlines())


@judged
@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ("/nothing", 1, "unikiln: Failed to load object: /nothing\n"),
        ("/fail", 3, "unikiln: program /fail returned 3\n"),
        ("/abort", 134, "unikiln: Assertion failed: false (tests/abort.cc: main: 7)\n"),
        ("/reset", 1, "unikiln: the guest reset its machine\n"),
        ("/hang", 124, "unikiln: the guest did not end within 1.5 s\n"),
    ],
)
def test_other_ends(image: Path, kernel: Path, program: str, status: int, said: str) -> None:
    timeout = "1.5" if program == "/hang" else "60"
    done = run(image, "--kernel", kernel, "-V", "--timeout", timeout, "--", program, check=status)
    assert done.stderr == said


@judged
def test_standard_input_is_the_consoles(image: Path, kernel: Path) -> None:
    done = run(image, "--kernel", kernel, "--", "/keys", data=b"a\x01q")
    assert done.stdout.splitlines()[2:-1] == ["type", "key 61", "key 01", "key 71"]


@judged
def test_a_free_port_is_told(image: Path, kernel: Path) -> None:
    done = run(image, "--kernel", kernel, "--forward", "tcp:127.0.0.1:0-:22")
    assert re.fullmatch(r"unikiln: tcp port \d+ leads to the guest's 22\n", done.stderr)


@judged
def test_a_reader_that_has_seen_enough(image: Path, kernel: Path) -> None:
    command = [*PROGRAM, "run", "--engine", "qemu", str(image), "--kernel", str(kernel), "--", "/hang"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        assert ours.stdout.readline()
        (qemu,) = _children(ours.pid)
        ours.stdout.close()
        ours.terminate()
        ours.wait(30)
    wait_until(lambda: not Path(f"/proc/{qemu}").exists(), "QEMU is gone")


class Terminal:
    """A terminal that ``unikiln`` runs in, as the job that has it."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [*PROGRAM, "run", "--engine", "qemu", *map(str, arguments)]
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)
        self.before = termios.tcgetattr(self.descriptor)
        self.said = b""
        self.status: int | None = None

    def read_until(self, text: bytes) -> None:
        def came() -> bool:
            if text not in self.said and select.select([self.descriptor], [], [], 0.1)[0]:
                self.said += os.read(self.descriptor, 4096)
            return text in self.said

        wait_until(came, f"{text!r} in {self.said!r}")

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def end(self) -> int:
        """Read to the end; the exit status."""
        while True:
            try:
                data = os.read(self.descriptor, 4096)
            except OSError:
                break
            if not data:
                break
            self.said += data
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    @property
    def mode(self) -> object:
        return termios.tcgetattr(self.descriptor)


@pytest.fixture
def hanging(image: Path, kernel: Path) -> Iterator[Terminal]:
    terminal = Terminal(image, "--kernel", kernel, "--", "/keys")
    terminal.read_until(b"type")
    yield terminal
    if terminal.status is None:
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.end()
    os.close(terminal.descriptor)


@judged
def test_keys_go_to_the_guest_as_they_are_typed(hanging: Terminal) -> None:
    assert hanging.mode != hanging.before
    hanging.type(b"\r\x1a\x1c")  # Enter, Ctrl-Z, Ctrl-backslash: the guest's, not ours
    for key in (b"key 0d", b"key 1a", b"key 1c"):
        hanging.read_until(key)
    hanging.type(b"q")
    hanging.read_until(b"Powering off.")
    wait_until(lambda: hanging.mode == hanging.before, "the terminal is as it was")
    assert hanging.end() == 0


@judged
def test_ctrl_c_ends_the_guest(hanging: Terminal) -> None:
    (qemu,) = _children(hanging.pid)
    hanging.type(b"\x03")
    wait_until(lambda: hanging.mode == hanging.before, "the terminal is as it was")
    assert hanging.end() == 130
    assert b"unikiln: interrupted" in hanging.said
    assert not Path(f"/proc/{qemu}").exists()


@judged
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_guest(hanging: Terminal, number: signal.Signals) -> None:
    (qemu,) = _children(hanging.pid)
    os.kill(hanging.pid, number)
    wait_until(lambda: hanging.mode == hanging.before, "the terminal is as it was")
    assert hanging.end() == 128 + number
    assert not Path(f"/proc/{qemu}").exists()


@judged
def test_the_monitor_is_behind_ctrl_a(hanging: Terminal) -> None:
    hanging.type(b"\x01c")
    hanging.read_until(b"(qemu)")
    hanging.type(b"info status\r")
    hanging.read_until(b"VM status: running")
    hanging.type(b"quit\r")
    assert hanging.end() == 1
    assert b"ended from outside" in hanging.said


@judged
def test_ctrl_c_may_be_a_key(image: Path, kernel: Path) -> None:
    terminal = Terminal(image, "--kernel", kernel, "--pass-signals", "--", "/keys")
    terminal.read_until(b"type")
    terminal.type(b"\x03")
    terminal.read_until(b"key 03")
    terminal.type(b"\x01x")
    assert terminal.end() == 1
    os.close(terminal.descriptor)


@judged
def test_a_timeout_restores_the_terminal(image: Path, kernel: Path) -> None:
    terminal = Terminal(image, "--kernel", kernel, "--timeout", "1", "--", "/keys")
    terminal.read_until(b"type")
    wait_until(lambda: terminal.mode == terminal.before, "the terminal is as it was")
    assert terminal.end() == 124
    os.close(terminal.descriptor)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@judged
def test_dry_run_prints_what_a_shell_can_run(
    image: Path, kernel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = dry(capsys, image, "--kernel", kernel, "--memory", "128M", "--vcpus", "1", "--", "/echo", "a b")
    assert shown.startswith(f"{Path(shown.split()[0])} \\\n  -machine virt,gic-version=2 \\\n")
    done = subprocess.run(["sh", "-c", shown], capture_output=True, stdin=subprocess.DEVNULL, check=True)
    assert b"[a b]" in done.stdout


@judged
def test_flags_of_run_py(image: Path, kernel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = image.parent
    options: list[str | Path] = [
        "-k",
        "-i",
        image,
        "--kernel-path",
        kernel,
        "--arch",
        "aarch64",
        "-e",
        "/x",
        "-m",
        "1G",
    ]
    options += [
        "-c",
        "3",
        "-s",
        "-V",
        "-H",
        "-w",
        "--vnc",
        ":1",
        "--nogdb",
        "--api",
        "--forward",
        "udp::5-:6",
    ]
    options += ["--block-device-cache", "unsafe", "--trace", "mmu*,zfs*", "--mount-fs", "nfs,u,/m"]
    options += ["--ip", "eth0,1.2.3.4,255.0.0.0", "--virtio-fs-dir", folder, "--virtio-fs-tag", "tag"]
    options += ["--cloud-init-image", kernel, "--pass-args", "-name 'a b'", "--scsi", "--nics", "1"]
    options += ["--mac", "52:54:00:12:34:56", "--hypervisor", "qemu", "--snapshot"]
    shown = dry(capsys, *options).replace(" \\\n ", "")
    for part in (
        f"virtiofsd --socket-path=/tmp/virtiofs -o source={folder}\n",
        "-append '--verbose --ip=eth0,1.2.3.4,255.0.0.0 --mount-fs=nfs,u,/m --trace=mmu* --trace=zfs* /x'",
        "-m 1024M",
        "-smp 3",
        "-S",
        "-no-shutdown",
        "-vnc :1",
        "hostfwd=tcp::8000-:8000,hostfwd=udp::5-:6",
        "cache=unsafe,aio=threads",
        "tag=tag",
        "scsi-hd,bus=scsi0.0",
        "mac=52:54:00:12:34:56",
        "-name 'a b'",
    ):
        assert part in shown, part
    assert "-gdb" not in shown


@pytest.mark.judge(X86, X86_COMPILER)
def test_a_disk_that_boots_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = build_boot_disk(tmp_path / "disk.img")
    assert run(disk, "-e", "--nopci /one two").stdout.splitlines()[1] == "Cmdline: --nopci /one two"
    assert run(disk, "--snapshot", "--", "/other").stdout.splitlines()[1] == "Cmdline: --nopci /other"
    assert run(disk).stdout.splitlines()[1] == "Cmdline: --nopci /one two"
    shown = dry(capsys, disk, "--", "/other")
    assert shown.startswith(f"unikiln disk setargs {disk} '--nopci /other'\n")
    assert "-kernel" not in shown
    assert run(disk).stdout.splitlines()[1] == "Cmdline: --nopci /one two"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "qemu", "IMAGE", "--stats"], "--stats is for --engine embedded, and this is"),
        (["IMAGE", "--kernel", "x"], "--kernel-path is for --engine qemu, and this is --engine embedded"),
        (["IMAGE", "-c", "1"], "--vcpus is for --engine qemu"),
        (["--engine", "qemu"], "Missing argument 'IMAGE'"),
        (["--engine", "qemu", "IMAGE", "--arch", "arm"], "is neither aarch64 nor x86_64"),
        (["--engine", "qemu", "IMAGE", "--kernel", "KERNEL", "--scsi", "--ide"], "a disk has one bus"),
        (["--engine", "qemu", "IMAGE", "--arch", "aarch64"], "no kernel: build/last/loader.img"),
        (["--engine", "qemu", "IMAGE", "--arch", "aarch64", "-d"], "no kernel: build/debug/loader.img"),
        (["--engine", "qemu", "IMAGE", "--arch", "aarch64", "-r"], "no kernel: build/release/loader.img"),
        (["--engine", "qemu", "IMAGE", "--kernel", "KERNEL", "--tap", "t"], "--tap and --vhost are for -n"),
        (["--engine", "qemu", "IMAGE", "--kernel", "KERNEL", "--virtio-fs-tag", "t"], "for --virtio-fs-dir"),
        (["--engine", "qemu", "IMAGE", "--kernel", "KERNEL", "--pass-args", "'"], "No closing quotation"),
        (["--engine", "qemu", "IMAGE", "--kernel", "KERNEL", "-m", "much"], "'much' is not a size"),
        (["--engine", "qemu", "IMAGE", "--kernel", "KERNEL", "-e", "/x", "--", "/y"], "given twice"),
        (["--engine", "qemu", "IMAGE", "--kernel", "KERNEL", "--env", "A"], "is not KEY=VALUE"),
    ],
)
def test_wrong_usage(
    image: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loader.img").write_bytes(bytes(56) + b"ARM\x64" + bytes(500))
    known = {"IMAGE": str(image), "KERNEL": "loader.img"}
    assert main(["run", *(known.get(each, each) for each in arguments)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_missing_qemu_names_its_package(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = tmp_path / "loader.img"
    kernel.write_bytes(bytes(56) + b"ARM\x64" + bytes(500))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["run", "--engine", "qemu", str(image), "--kernel", str(kernel)]) == 1
    assert capsys.readouterr().err == (
        "unikiln: qemu-system-aarch64 is not installed (Debian has it in the package qemu-system-arm)\n"
    )


def test_help_is_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    groups = re.findall(r"^(\S.*):$", out, re.MULTILINE)
    assert groups[:3] == ["Arguments", "Options", "Embedded engine"]
    assert all(group.startswith("QEMU") for group in groups[3:])
    assert max(map(len, out.splitlines())) <= 80


def test_the_embedded_engine_keeps_to_its_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.guest.tiny import make_elf, words

    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/spin").write_bytes(make_elf(words(0x14000000)))
    (tmp_path / "tree/spin").chmod(0o755)
    disk = tmp_path / "spin.raw"
    assert main(["build", str(tmp_path / "tree"), "-o", str(disk), "-q"]) == 0
    begun = time.monotonic()
    assert main(["run", str(disk), "--timeout", "0.5", "--", "/spin"]) == 124
    assert time.monotonic() - begun < 20
    assert capsys.readouterr().err == "unikiln: the guest did not end within 0.5 s\n"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
