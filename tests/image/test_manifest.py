"""The language: what each line means, and every line that means nothing, at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import HostError, ManifestError
from unikiln.image.manifest import Line, format_line, parse, read
from unikiln.image.manifest_variables import Variables


def rules(text: bytes, **defines: str) -> list[tuple[bytes, bytes]]:
    lines, problems = parse(text, "m", Variables(defines))
    assert problems == []
    return [(line.guest, line.host) for line in lines]


def test_lines() -> None:
    text = b"[manifest]\n# comment\n\n \t\n\t# indented\n/a: b\n  /c :  d e: f  \r\n/l: ->/a\n/s/**: t/**\n"
    lines, problems = parse(text)
    assert lines == [
        Line(b"/a", b"b", 6),
        Line(b"/c", b"d e: f", 7),
        Line(b"/l", b"->/a", 8),
        Line(b"/s/**", b"t/**", 9),
    ]
    assert problems == []
    assert [line.recursive for line in lines] == [False, False, False, True]
    assert [line.target for line in lines] == [None, None, b"/a", None]
    assert [line.path for line in lines[3:]] == [b"t"]


def test_marks() -> None:
    kept, below, root = parse(b"/a: !b\n/c/**: !d/**\n/**: /**")[0]
    assert (kept.keeps_links, kept.path) == (True, b"b")
    assert (below.keeps_links, below.recursive, below.path) == (True, True, b"d")
    assert root.path == b"/"
    assert not parse(b"/a/**: ->/b/**")[0][0].recursive


def test_the_same_path_on_both_sides() -> None:
    assert rules(b"/&/etc/hosts: ../static/&") == [(b"/etc/hosts", b"../static/etc/hosts")]
    assert rules(b"/usr/&/lib/a.so: !out/&") == [(b"/usr/lib/a.so", b"!out/lib/a.so")]
    assert rules(b"/x/&/tests/**: build/&") == [(b"/x/tests/**", b"build/tests/**")]
    assert rules(b"/a/&/b/&/c: d/&") == [(b"/a/b/&/c", b"d/b/&/c")]


def test_values() -> None:
    assert rules(b"/a: %(one)s/%(two)s.so", one="x", two="y%(one)s") == [(b"/a", b"x/y%(one)s.so")]
    assert rules(b"/%(one)s: 100%%/50%", one="x") == [(b"/%(one)s", b"100%/50%")]
    assert rules(b"/l: ->%(one)s/z", one="/x") == [(b"/l", b"->/x/z")]


def test_values_of_modules() -> None:
    lines, problems = parse(
        b"/a: ${MODULE_DIR}/x\n/${n}: ${n}\n/b: ${nowhere_given}/y\n",
        "m",
        Variables({"n": "v"}),
        Path("/some/module"),
    )
    assert [(line.guest, line.host) for line in lines] == [(b"/a", b"/some/module/x"), (b"/v", b"v")]
    assert len(problems) == 1
    assert problems[0].startswith("m:3: ${nowhere_given} has no value")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"/a:b", "'/a:b' is not 'guest: host'"),
        (b"/a", "is not 'guest: host'"),
        (b": b", "is not 'guest: host'"),
        (b"/a: ", "is not 'guest: host'"),
        (b"/a: ->", "is not 'guest: host'"),
        (b"/a: !", "is not 'guest: host'"),
        (b"/a: %(x)s/b", r"%\(x\)s has no value .*-D x=VALUE"),
        (b"/a/**: b", r"/\*\* on one side only"),
        (b"/a: b/**", r"/\*\* on one side only"),
        (b"/&/a: b", "& on one side only"),
        (b"/a: b/&", "& on one side only"),
    ],
)
def test_what_is_no_rule_is_refused_with_its_line(line: bytes, said: str) -> None:
    lines, problems = parse(b"# first\n" + line + b"\n/good: one\n", "m")
    assert [each.guest for each in lines] == [b"/good"]
    (problem,) = problems
    assert problem.startswith("m:2: ")
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(problem)


def test_every_bad_line_is_told() -> None:
    _, problems = parse(b"/a\n/b: %(x)s\n/c: d\n/e/**: f\n", "m")
    assert [problem.partition(" ")[0] for problem in problems] == ["m:1:", "m:2:", "m:4:"]


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="absent: No such file"):
        read(tmp_path / "absent", Variables({}))
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0")
    with pytest.raises(ManifestError, match="program is no manifest, directory or tar archive"):
        read(tmp_path / "program", Variables({}))


@given(st.binary(max_size=200).filter(lambda text: b"\0" not in text))
def test_any_text_is_rules_or_problems(text: bytes) -> None:
    lines, problems = parse(text)
    said = [line for line in text.split(b"\n") if line.strip() and not line.strip().startswith(b"#")]
    assert len(lines) + len(problems) <= len(said) or b"[manifest]" in text


@given(st.binary(min_size=1, max_size=30), st.binary(min_size=1, max_size=30))
def test_a_line_that_is_written_says_what_was_meant(guest: bytes, host: bytes) -> None:
    try:
        line = format_line(b"/" + guest, b"/" + host)
    except ManifestError:
        return
    assert rules(line) == [(b"/" + guest, b"/" + host)]


@pytest.mark.parametrize(
    ("guest", "host"),
    [(b"/a: b", b"c"), (b"/a", b"b\nc"), (b"/a ", b"b"), (b"/a/**", b"b/**"), (b"/&/a", b"b/&")],
)
def test_files_that_no_line_can_name(guest: bytes, host: bytes) -> None:
    with pytest.raises(ManifestError, match="no manifest can name"):
        format_line(guest, host)
