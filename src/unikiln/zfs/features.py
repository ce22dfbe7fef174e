"""Feature flags by name: which of them change what a reader must understand (zfeature_common.c)."""

from __future__ import annotations

from collections.abc import Mapping

from unikiln.errors import UnsupportedError

READABLE = frozenset(
    {
        "com.delphix:async_destroy",
        "com.delphix:bookmark_written",
        "com.delphix:bookmarks",
        "com.delphix:embedded_data",
        "com.delphix:empty_bpobj",
        "com.delphix:enabled_txg",
        "com.delphix:extensible_dataset",
        "com.delphix:head_errlog",
        "com.delphix:hole_birth",
        "com.delphix:livelist",
        "com.delphix:log_spacemap",
        "com.delphix:obsolete_counts",
        "com.delphix:redaction_bookmarks",
        "com.delphix:redaction_list_spill",
        "com.delphix:spacemap_histogram",
        "com.delphix:spacemap_v2",
        "com.delphix:zpool_checkpoint",
        "com.datto:bookmark_v2",
        "com.datto:resilver_defer",
        "com.fudosecurity:block_cloning",
        "com.joyent:filesystem_limits",
        "com.joyent:multi_vdev_crash_dump",
        "com.klarasystems:fast_dedup",
        "com.klarasystems:large_microzap",
        "com.klarasystems:vdev_zaps_v2",
        "com.truenas:block_cloning_endian",
        "com.truenas:physical_rewrite",
        "org.illumos:lz4_compress",
        "org.illumos:sha512",
        "org.open-zfs:large_blocks",
        "org.openzfs:device_rebuild",
        "org.openzfs:zilsaxattr",
        "org.zfsonlinux:allocation_classes",
        "org.zfsonlinux:large_dnode",
        "org.zfsonlinux:longname",
        "org.zfsonlinux:project_quota",
        "org.zfsonlinux:userobj_accounting",
    }
)
"""Those that do not change how a block is read, or that this reads."""

DECIDED_BY_BLOCK = frozenset(
    {
        "com.datto:encryption",
        "org.freebsd:zstd_compress",
        "org.illumos:edonr",
        "org.illumos:skein",
        "org.openzfs:blake3",
        "com.delphix:device_removal",
        "com.delphix:redacted_datasets",
        "org.openzfs:draid",
        "org.openzfs:raidz_expansion",
    }
)
"""Those that stop only the reading of what uses them: a dataset, a vdev or a block."""


def check_readable(active: Mapping[str, int]) -> None:
    """Refuse a pool with an active feature that a reader must know and we do not.

    ``active`` is what the pool lists as needed for reading, with counts.

    :raises UnsupportedError: names the first such feature
    """
    for name, count in sorted(active.items()):
        if count and name not in READABLE and name not in DECIDED_BY_BLOCK:
            raise UnsupportedError(f"the pool uses feature {name}, which cannot be read yet")
