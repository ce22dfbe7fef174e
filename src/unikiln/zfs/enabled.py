"""Feature flags that this writer can use, and which of them a pool of a given profile enables.

Names and natures are those of ``zpool_feature_init`` (module/zcommon/zfeature_common.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Feature:
    """A feature by its guid; ``readonly_compatible`` ones do not keep others from reading the pool.

    ``in_label`` ones must be known before the meta object set can be read; ``on_enable`` ones are
    active as soon as they are enabled.
    """

    guid: str
    description: str
    readonly_compatible: bool = False
    in_label: bool = False
    on_enable: bool = False


ASYNC_DESTROY = Feature("com.delphix:async_destroy", "Destroy filesystems asynchronously.", True)
EMPTY_BPOBJ = Feature("com.delphix:empty_bpobj", "Snapshots use less space.", True)
LZ4_COMPRESS = Feature("org.illumos:lz4_compress", "LZ4 compression algorithm support.", on_enable=True)
ENABLED_TXG = Feature(
    "com.delphix:enabled_txg", "Record txg at which a feature is enabled", True, on_enable=True
)
HOLE_BIRTH = Feature(
    "com.delphix:hole_birth", "Retain hole birth txg for more precise zfs send", in_label=True, on_enable=True
)
EXTENSIBLE_DATASET = Feature(
    "com.delphix:extensible_dataset", "Enhanced dataset functionality, used by other features."
)
EMBEDDED_DATA = Feature(
    "com.delphix:embedded_data",
    "Blocks which compress very well use even less space.",
    in_label=True,
    on_enable=True,
)
LARGE_BLOCKS = Feature("org.open-zfs:large_blocks", "Support for blocks larger than 128KB.")

_OSV = (ASYNC_DESTROY, EMPTY_BPOBJ, LZ4_COMPRESS)
PROFILES: Mapping[str, tuple[Feature, ...]] = {
    "osv": _OSV,
    "openzfs": (*_OSV, ENABLED_TXG, HOLE_BIRTH, EXTENSIBLE_DATASET, EMBEDDED_DATA, LARGE_BLOCKS),
}
"""What a pool enables: ``osv`` only what an OSv kernel knows, ``openzfs`` all that the writer uses."""


class FeatureSet:
    """The enabled features of a pool, each with the number of its uses (``refcount``)."""

    def __init__(self, profile: str) -> None:
        self._counts = {feature: int(feature.on_enable) for feature in PROFILES[profile]}

    def __contains__(self, feature: Feature) -> bool:
        return feature in self._counts

    def use(self, feature: Feature) -> None:
        """Count one more use, enabling the feature if it is not."""
        self._counts[feature] = self._counts.get(feature, 0) + 1

    def counts(self, *, readonly_compatible: bool) -> dict[bytes, int]:
        """Guid to uses, of the features of one of the two ZAPs."""
        chosen = self._counts.items()
        return {
            each.guid.encode(): n for each, n in chosen if each.readonly_compatible == readonly_compatible
        }

    def enabled(self) -> Iterable[Feature]:
        """All of them."""
        return tuple(self._counts)

    def label(self) -> dict[str, bool]:
        """``features_for_read`` as labels and the configuration carry it."""
        return {each.guid: True for each, n in self._counts.items() if each.in_label and n}
