"""Feature flags by name: which of them change what a reader must understand (zfeature_common.c).

A pool lists its active features in two ZAPs: what a reader must know, and what only a writer must.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from unikiln.errors import UnsupportedError


class Reading(Enum):
    """What a feature means to a reader."""

    COMPATIBLE = "does not concern a reader (read-only compatible)"
    READ = "is read"
    WHERE_USED = "concerns only the blocks, datasets and devices that use it"


class KnownFeature(NamedTuple):
    """A feature flag of OpenZFS: its guid, what it means to a reader, and what it is for."""

    guid: str
    reading: Reading
    purpose: str

    @property
    def name(self) -> str:
        """The name that ``zpool get feature@NAME`` takes."""
        return self.guid.partition(":")[2]


_C, _R, _W = Reading.COMPATIBLE, Reading.READ, Reading.WHERE_USED
_TABLE = (
    KnownFeature("com.datto:bookmark_v2", _R, "larger bookmarks"),
    KnownFeature("com.datto:encryption", _W, "encrypted datasets"),
    KnownFeature("com.datto:resilver_defer", _C, "one resilver after another"),
    KnownFeature("com.delphix:async_destroy", _C, "destroying datasets in the background"),
    KnownFeature("com.delphix:bookmark_written", _R, "space written since a bookmark"),
    KnownFeature("com.delphix:bookmarks", _C, "bookmarks"),
    KnownFeature("com.delphix:device_removal", _W, "removed top-level devices"),
    KnownFeature("com.delphix:embedded_data", _R, "small blocks inside their pointers"),
    KnownFeature("com.delphix:empty_bpobj", _C, "snapshots that use less space"),
    KnownFeature("com.delphix:enabled_txg", _C, "the txg in which a feature was enabled"),
    KnownFeature(
        "com.delphix:extensible_dataset", _R, "datasets that carry more than their first format had"
    ),
    KnownFeature("com.delphix:head_errlog", _R, "error logs by dataset"),
    KnownFeature("com.delphix:hole_birth", _R, "birth times of holes"),
    KnownFeature("com.delphix:livelist", _C, "clones that are destroyed faster"),
    KnownFeature("com.delphix:log_spacemap", _C, "space maps written as one log"),
    KnownFeature("com.delphix:obsolete_counts", _C, "what removed devices need no more"),
    KnownFeature("com.delphix:redacted_datasets", _W, "datasets without some of their blocks"),
    KnownFeature("com.delphix:redaction_bookmarks", _R, "bookmarks with redaction lists"),
    KnownFeature("com.delphix:redaction_list_spill", _R, "long redaction lists"),
    KnownFeature("com.delphix:spacemap_histogram", _C, "histograms in space maps"),
    KnownFeature("com.delphix:spacemap_v2", _C, "space maps of large devices"),
    KnownFeature("com.delphix:zpool_checkpoint", _C, "a checkpoint of the pool"),
    KnownFeature("com.fudosecurity:block_cloning", _C, "cloned blocks"),
    KnownFeature("com.joyent:filesystem_limits", _C, "limits on numbers of datasets"),
    KnownFeature("com.joyent:multi_vdev_crash_dump", _R, "crash dumps over several devices"),
    KnownFeature("com.klarasystems:dynamic_gang_header", _W, "gang headers as large as a sector"),
    KnownFeature("com.klarasystems:fast_dedup", _C, "deduplication tables with a log"),
    KnownFeature("com.klarasystems:large_microzap", _C, "micro ZAPs beyond 128 KiB"),
    KnownFeature("com.klarasystems:vdev_zaps_v2", _R, "properties of the root device"),
    KnownFeature("com.seagate:draid_failure_domains", _W, "dRAID over failure domains"),
    KnownFeature("com.truenas:block_cloning_endian", _C, "cloned blocks counted alike on all machines"),
    KnownFeature("com.truenas:physical_rewrite", _C, "blocks rewritten without a new birth"),
    KnownFeature("org.freebsd:zstd_compress", _W, "zstd compression"),
    KnownFeature("org.illumos:edonr", _W, "Edon-R checksums"),
    KnownFeature("org.illumos:lz4_compress", _R, "lz4 compression"),
    KnownFeature("org.illumos:sha512", _W, "SHA-512/256 checksums"),
    KnownFeature("org.illumos:skein", _W, "Skein checksums"),
    KnownFeature("org.open-zfs:large_blocks", _R, "blocks beyond 128 KiB"),
    KnownFeature("org.openzfs:blake3", _W, "BLAKE3 checksums"),
    KnownFeature("org.openzfs:device_rebuild", _C, "sequential rebuilds of mirrors and dRAID"),
    KnownFeature("org.openzfs:draid", _W, "dRAID"),
    KnownFeature("org.openzfs:raidz_expansion", _W, "raidz that grew by a disk"),
    KnownFeature("org.openzfs:zilsaxattr", _C, "extended attributes in the intent log"),
    KnownFeature("org.zfsonlinux:allocation_classes", _C, "special and dedup devices"),
    KnownFeature("org.zfsonlinux:large_dnode", _R, "dnodes beyond 512 bytes"),
    KnownFeature("org.zfsonlinux:longname", _R, "file names of up to 1023 bytes"),
    KnownFeature("org.zfsonlinux:project_quota", _C, "space by project"),
    KnownFeature("org.zfsonlinux:userobj_accounting", _C, "numbers of objects by user"),
)
KNOWN: Mapping[str, KnownFeature] = {feature.guid: feature for feature in _TABLE}
"""Every feature that OpenZFS 2.3 has, and those that came after it, by guid."""


def check_readable(active: Mapping[str, int]) -> None:
    """Refuse a pool with an active feature that a reader must know and we do not.

    ``active`` is what the pool lists as needed for reading, with counts.

    :raises UnsupportedError: names each such feature
    """
    unknown = sorted(guid for guid, count in active.items() if count and guid not in KNOWN)
    if unknown:
        raise UnsupportedError(
            f"the pool uses {'feature' if len(unknown) == 1 else 'features'} {', '.join(unknown)}, "
            "which a reader must know and this one does not",
            hint="a newer OpenZFS made it; nothing of it can be read safely",
        )
