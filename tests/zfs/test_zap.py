"""ZAPs that OpenZFS made: every entry is found again by its hash, whatever its keys are."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.errors import CorruptError
from unikiln.zfs.format.dmu import ObjectType
from unikiln.zfs.objset import DmuObject, ObjectSet
from unikiln.zfs.pool import open_pool
from unikiln.zfs.verify.structure import is_zap
from unikiln.zfs.zap import Zap

_WORDS = "keys are words"


def lookups(objset: ObjectSet) -> Counter[str]:
    """How many entries were found again, by what is special about their ZAP."""
    found: Counter[str] = Counter()
    for number, dn in objset.dnodes():
        if not is_zap(dn.type) and dn.type != ObjectType.DDT_ZAP:
            continue
        zap = Zap(DmuObject(objset.reader, number, dn))
        for entry in zap.entries():
            assert zap.entry(entry.name) == entry
            kind = "micro" if zap.micro is not None else "fat"
            if zap.micro is None:
                kind = _WORDS if zap.header.has_word_keys else kind
            found[kind] += 1
    return found


@pytest.mark.parametrize(
    ("name", "special"),
    [("blockclone", _WORDS), ("dedup-fast", _WORDS), ("dedup-legacy", _WORDS), ("datasets", "micro")],
)
def test_every_entry_is_found_by_its_hash(
    name: str, special: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = corpus.unpack(name, tmp_path_factory.mktemp("pool"))
    with FileDevice(path) as device, open_pool(device) as pool:
        found = lookups(pool.mos)
    assert found["micro"] > 50
    assert found[special] > 50


@pytest.mark.parametrize("name", ["bigdir", "default-a12"])
def test_large_directories(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = corpus.unpack(name, tmp_path_factory.mktemp("pool"))
    with FileDevice(path) as device, open_pool(device) as pool:
        found: Counter[str] = Counter()
        for info in pool.datasets():
            if info.type == "filesystem":
                found += lookups(pool.dataset(info.name).objset)
    assert found["fat"] > 5000


def test_what_is_no_zap(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = corpus.unpack("empty", tmp_path_factory.mktemp("pool"))
    with FileDevice(path) as device, open_pool(device) as pool:
        number = pool.listed(b"config")
        with pytest.raises(CorruptError, match="not a ZAP"):
            Zap(pool.mos.object(number)).get(b"name")
