from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from tests.trees import Segment, Spec, compare_trees, materialise, trees


@settings(max_examples=25)
@given(trees())
def test_a_tree_made_twice_is_equal(spec: Spec) -> None:
    with TemporaryDirectory() as folder:
        one, two = (materialise(spec, Path(folder) / name) for name in ("one", "two"))
        compare_trees(one, two, holes=True)


SOME = Spec(
    "directory",
    0o755,
    10**18,
    children={b"a": Spec("file", segments=(Segment("text", 10),)), b"b": Spec("link"), b"c": Spec("file")},
)


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "a").write_text("other text"),
        lambda top: (top / "a").chmod(0o600),
        lambda top: os.utime(top / "a", ns=(0, 1)),
        lambda top: (top / "extra").touch(),
        lambda top: (top / "c").unlink(),
        lambda top: os.setxattr(top / "c", "user.x", b"y"),
        lambda top: ((top / "b").unlink(), (top / "b").write_bytes((top / "a").read_bytes())),
    ],
)
def test_every_difference_is_found(change: object, tmp_path: Path) -> None:
    one, two = (materialise(SOME, tmp_path / name) for name in ("one", "two"))
    assert callable(change)
    change(two)
    os.utime(two, ns=(0, 10**18))
    with pytest.raises(AssertionError):
        compare_trees(one, two)
