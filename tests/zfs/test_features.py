"""Feature flags: every one that OpenZFS has is known; what is unknown stops a read only if it must."""

from __future__ import annotations

import pytest

from tests.zfs import corpus
from unikiln.base.device import FileDevice
from unikiln.errors import UnsupportedError
from unikiln.zfs.enabled import PROFILES
from unikiln.zfs.features import KNOWN, Reading, check_readable
from unikiln.zfs.pool import open_pool


def test_every_feature_of_a_new_pool_is_known(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = corpus.unpack("datasets", tmp_path_factory.mktemp("pool"))
    listed = corpus.manifest("datasets")["zpool_get"]
    states = {key.partition("@")[2]: value[0] for key, value in listed.items() if key.startswith("feature@")}
    names = {feature.name: feature.guid for feature in KNOWN.values()}
    assert states.keys() <= names.keys()
    with FileDevice(path) as device, open_pool(device) as pool:
        found = {KNOWN[guid].name: "active" if count else "enabled" for guid, count in pool.features.items()}
        assert found == states
        by_need = pool._feature_counts(b"features_for_write")
        assert {guid for guid in by_need if KNOWN[guid].reading is not Reading.COMPATIBLE} == set()
        by_need = pool._feature_counts(b"features_for_read")
        assert {guid for guid in by_need if KNOWN[guid].reading is Reading.COMPATIBLE} == set()


def test_what_the_writer_enables_is_known() -> None:
    for features in PROFILES.values():
        for feature in features:
            compatible = KNOWN[feature.guid].reading is Reading.COMPATIBLE
            assert compatible == feature.readonly_compatible, feature.guid


def test_what_is_unknown_is_refused_in_one_sentence() -> None:
    check_readable(dict.fromkeys(KNOWN, 1))
    check_readable({"org.example:new": 0})
    with pytest.raises(
        UnsupportedError, match=r"feature org\.example:new, which a reader must know"
    ) as caught:
        check_readable({"org.example:new": 3, "com.delphix:hole_birth": 1})
    assert "\n" not in str(caught.value)
    with pytest.raises(UnsupportedError, match=r"features org\.a:a, org\.b:b"):
        check_readable({"org.b:b": 1, "org.a:a": 1})


def test_each_has_a_purpose() -> None:
    assert len(KNOWN) >= 43
    assert all(feature.purpose and feature.name in guid for guid, feature in KNOWN.items())
