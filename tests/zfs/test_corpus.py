"""Pools that OpenZFS made: every path, attribute and byte as its own mount shows them; all of them whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.zfs import corpus
from unikiln.image.pools import open_pool
from unikiln.zfs.pool import Pool
from unikiln.zfs.verify import verify

UNPLAYED = {"crypt-zil", "zil-unplayed"}
"""What is in it depends on its intent log."""


@pytest.fixture(scope="module", params=[each for each in corpus.names() if each not in UNPLAYED])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pool(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    paths = corpus.unpack_all(name, tmp_path_factory.mktemp("pool"))
    with open_pool(paths, key=corpus.keys(name)) as pool:
        yield pool
    for path in paths:
        path.unlink()


def test_every_path_is_as_in_the_manifest(name: str, pool: Pool) -> None:
    assert list(corpus.differences(pool, corpus.manifest(name))) == []


def test_verify_finds_nothing(name: str, pool: Pool) -> None:
    result = verify(pool)
    assert list(result) == []
    assert result.blocks > 30
    assert result.bytes > 100_000
    assert result.objects > 40


def test_referenced_and_creation_are_what_zfs_list_says(name: str, pool: Pool) -> None:
    expected = corpus.manifest(name)["datasets"]
    for info in pool.datasets():
        props = expected[info.name]["props"]
        assert info.creation == int(props["creation"][0])
        # the manifest was made while the pool was mounted; a later txg may change the last blocks
        assert abs(info.referenced - int(props["referenced"][0])) <= 64 << 10


def test_space_adds_up(name: str, pool: Pool) -> None:
    root = pool.datasets()[0]
    stated = int(corpus.manifest(name)["datasets"][root.name]["props"]["used"][0])
    assert pool.size == pool.allocated + pool.free
    assert pool.allocated > 0
    assert abs(root.used - stated) <= max(512 << 10, stated // 20)  # an export writes some more
