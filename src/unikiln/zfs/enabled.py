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

SPACEMAP_V2 = Feature(
    "com.delphix:spacemap_v2",
    "Space maps representing large segments are more efficient.",
    True,
    on_enable=True,
)
HEAD_ERRLOG = Feature(
    "com.delphix:head_errlog", "Support for per-dataset on-disk error logs.", on_enable=True
)

_OSV = (ASYNC_DESTROY, EMPTY_BPOBJ, LZ4_COMPRESS)
_UNUSED = tuple(
    Feature(guid, guid.partition(":")[2].replace("_", " "))
    for guid in (
        "com.datto:bookmark_v2",
        "com.datto:encryption",
        "com.delphix:bookmark_written",
        "com.delphix:device_removal",
        "com.delphix:redacted_datasets",
        "com.delphix:redaction_bookmarks",
        "com.delphix:redaction_list_spill",
        "com.joyent:multi_vdev_crash_dump",
        "com.klarasystems:vdev_zaps_v2",
        "org.freebsd:zstd_compress",
        "org.illumos:edonr",
        "org.illumos:sha512",
        "org.illumos:skein",
        "org.openzfs:blake3",
        "org.openzfs:draid",
        "org.openzfs:raidz_expansion",
        "org.zfsonlinux:large_dnode",
        "org.zfsonlinux:longname",
    )
)
_UNUSED_READONLY_COMPATIBLE = tuple(
    Feature(guid, guid.partition(":")[2].replace("_", " "), True)
    for guid in (
        "com.datto:resilver_defer",
        "com.delphix:bookmarks",
        "com.delphix:livelist",
        "com.delphix:log_spacemap",
        "com.delphix:obsolete_counts",
        "com.delphix:spacemap_histogram",
        "com.delphix:zpool_checkpoint",
        "com.fudosecurity:block_cloning",
        "com.joyent:filesystem_limits",
        "com.klarasystems:fast_dedup",
        "com.klarasystems:large_microzap",
        "org.openzfs:device_rebuild",
        "org.openzfs:zilsaxattr",
        "org.zfsonlinux:allocation_classes",
        "org.zfsonlinux:project_quota",
        "org.zfsonlinux:userobj_accounting",
    )
)
_OPENZFS = (
    *_OSV, ENABLED_TXG, HOLE_BIRTH, EXTENSIBLE_DATASET, EMBEDDED_DATA, LARGE_BLOCKS, SPACEMAP_V2, HEAD_ERRLOG,
    *_UNUSED, *_UNUSED_READONLY_COMPATIBLE,
)  # fmt: skip
PROFILES: Mapping[str, tuple[Feature, ...]] = {"osv": _OSV, "openzfs": _OPENZFS}
"""What a pool enables: ``osv`` only what an OSv kernel knows, ``openzfs`` what ``zpool create`` of 2.3 does.

A feature that is enabled and not used keeps nobody from reading the pool.
"""


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
