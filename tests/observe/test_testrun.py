"""What ``unikiln test`` is made of: finding programs, running commands, JUnit."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.machine.hostfs import HostFileSystem
from tests.qemu import wait_until
from unikiln.base.filesystem import Inode
from unikiln.base.lookup import find
from unikiln.errors import HostError, UsageError
from unikiln.observe.junit import document
from unikiln.observe.testrun import Program, Result, Verdict, programs, run_all

ARM_ELF = b"\x7fELF" + bytes(14) + b"\xb7\x00" + bytes(44)
X86_ELF = b"\x7fELF" + bytes(14) + b"\x3e\x00" + bytes(44)


def command(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def results(codes: dict[str, str], *, jobs: int = 1, timeout: float = 30.0) -> dict[str, Result]:
    wanted = [Program(name, f"/tests/{name}") for name in codes]
    ran = run_all(wanted, lambda program: command(codes[program.name]), jobs=jobs, timeout=timeout)
    return {each.name: each for each in ran}


def test_programs_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    (folder / "tst-folder").mkdir(parents=True)
    (folder / "tst-b.so").write_bytes(ARM_ELF)
    (folder / "tst-a").write_bytes(ARM_ELF)
    (folder / "tst-x86").write_bytes(X86_ELF)
    (folder / "other").write_bytes(ARM_ELF)
    (folder / "tst-data").write_text("7f 45 4c 46")
    (folder / "tst-empty").touch()
    (folder / "tst-link").symlink_to("other")
    (folder / "tst-nowhere").symlink_to("nothing")
    filesystem = HostFileSystem(tmp_path)

    def look(path: bytes) -> Inode:
        return find(filesystem.root, path, "image")

    def names(pattern: str, machine: int | None) -> list[str]:
        return [each.name for each in programs(look, "/tests/", pattern, machine)]

    assert names("*", None) == ["other", "tst-a", "tst-b.so", "tst-link", "tst-x86"]
    assert names("tst-*", 183) == ["tst-a", "tst-b.so", "tst-link"]
    assert names("*.so", 183) == ["tst-b.so"]
    assert programs(look, "/tests", "tst-a", 183) == [Program("tst-a", "/tests/tst-a")]
    with pytest.raises(UsageError, match="/tests/other: is no directory"):
        programs(look, "/tests/other", "*", None)
    with pytest.raises(FileNotFoundError):
        programs(look, "/none", "*", None)


def test_verdicts() -> None:
    came = results(
        {
            "passes": "print('well')",
            "fails": "raise SystemExit(3)",
            "says why": "import sys; print('unikiln: no good', file=sys.stderr); raise SystemExit(1)",
            "crashes": "raise SystemExit(139)",
            "dies": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "returns 124": "raise SystemExit(124)",
        }
    )
    assert {name: (each.verdict.value, each.status, each.reason) for name, each in came.items()} == {
        "passes": ("passed", 0, ""),
        "fails": ("failed", 3, "exit status 3"),
        "says why": ("failed", 1, "no good"),
        "crashes": ("crashed", 139, "exit status 139"),
        "dies": ("crashed", -9, "exit status -9"),
        "returns 124": ("failed", 124, "exit status 124"),
    }
    assert came["passes"].output == "well\n"
    assert came["says why"].messages == "unikiln: no good\n"


def test_a_command_that_keeps_its_time(tmp_path: Path) -> None:
    came = results({"slow": "import time; time.sleep(0.3); raise SystemExit(124)"}, timeout=0.2)
    assert came["slow"].verdict is Verdict.timeout
    assert came["slow"].reason == "did not end within 0.2 s"


def test_a_command_that_does_not_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unikiln.observe.testrun._GRACE_SECONDS", 0.3)
    child = tmp_path / "child"
    code = f"import os, time; p = os.fork(); p or open({str(child)!r}, 'w').write(str(os.getpid()))"
    code += "; time.sleep(99)"
    came = results({"stuck": code}, timeout=1.0)
    assert (came["stuck"].verdict, came["stuck"].status) == (Verdict.timeout, 124)
    wait_until(lambda: not Path(f"/proc/{child.read_text()}/fd").exists() or _is_zombie(child), "it is gone")


def _is_zombie(child: Path) -> bool:
    return Path(f"/proc/{child.read_text()}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_several_at_a_time() -> None:
    codes = {str(number): "import time; time.sleep(0.5)" for number in range(6)}
    begun = time.monotonic()
    came = results(codes, jobs=6)
    assert len(came) == 6
    together = time.monotonic() - begun
    assert together < sum(each.seconds for each in came.values())


def test_a_run_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w'); time.sleep(99)"
    wanted = [Program("quick", "/quick"), *(Program(name, f"/{name}") for name in "ab")]
    ran = run_all(wanted, lambda each: command("pass" if each.name == "quick" else code), jobs=3, timeout=30)
    assert next(iter(ran)).name == "quick"
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "both run")
    ran.close()  # type: ignore[attr-defined]
    for each in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(each.name), 0)


def test_a_command_that_cannot_be_started() -> None:
    with pytest.raises(HostError, match="/no/such: No such file"):
        list(run_all([Program("a", "/a")], lambda each: ["/no/such"], jobs=1, timeout=1))


def test_much_output_is_cut_at_its_beginning() -> None:
    came = results({"loud": "import sys; sys.stdout.write('x' * (3 << 20) + 'the end')"})
    assert came["loud"].output.endswith("the end")
    assert len(came["loud"].output) == 1 << 20


def test_junit_is_xml_whatever_guests_say() -> None:
    odd = "\x00\x1b[31m<red> & \ufffe \ud800 ]]>"
    ran = [
        Result("good", "/t/good", Verdict.passed, 0.25, 0, "", "", ""),
        Result("bad<", "/t/bad", Verdict.failed, 1.5, 3, "returned 3", odd, ""),
        Result("slow", "/t/slow", Verdict.timeout, 9.0, 124, "did not end", "", odd),
        Result("crash", "/t/crash", Verdict.crashed, 0.5, 139, "SIGSEGV", "", "registers"),
    ]
    top = ElementTree.fromstring(document("disk.raw", ran, 11.25))
    assert top.attrib == {"tests": "4", "failures": "1", "errors": "2", "time": "11.250"}
    (suite,) = top
    assert suite.attrib == {"name": "disk.raw", **top.attrib}
    good, bad, slow, crash = suite
    assert good.attrib == {"classname": "disk.raw", "name": "good", "time": "0.250"}
    assert len(good) == 0
    assert bad.get("name") == "bad<"
    failure, error = bad.find("failure"), crash.find("error")
    assert failure is not None and error is not None
    assert failure.attrib == {"type": "failed", "message": "returned 3"}
    assert error.text == "registers"
    assert "<red> & " in (bad.findtext("system-out") or "")
    assert slow.findtext("system-err") == bad.findtext("system-out")
