"""The pool's configuration: nvlists that labels and the meta object set carry (``spa_config_generate``)."""

from __future__ import annotations

from dataclasses import dataclass

from unikiln.zfs.format.nvlist import NvList

VERSION = 5000
EXPORTED = 1
"""``POOL_STATE_EXPORTED``: whoever imports the pool need not force it."""


@dataclass(slots=True, frozen=True)
class VdevLayout:
    """A pool's only top-level vdev, a disk: sizes in bytes, ``path`` what the guest calls it."""

    pool: str
    pool_guid: int
    guid: int
    path: str
    ashift: int
    asize: int
    metaslab_shift: int
    metaslab_array: int
    txg: int
    features: dict[str, bool]
    hostname: str

    @property
    def metaslabs(self) -> int:
        """Whole metaslabs on the vdev."""
        return self.asize >> self.metaslab_shift

    def _disk(self) -> NvList:
        return {
            "type": "disk",
            "id": 0,
            "guid": self.guid,
            "path": self.path,
            "whole_disk": 0,
            "metaslab_array": self.metaslab_array,
            "metaslab_shift": self.metaslab_shift,
            "ashift": self.ashift,
            "asize": self.asize,
            "is_log": 0,
            "create_txg": self.txg,
        }

    def _head(self) -> NvList:
        return {
            "version": VERSION,
            "name": self.pool,
            "state": EXPORTED,
            "txg": self.txg,
            "pool_guid": self.pool_guid,
            "errata": 0,
            "hostname": self.hostname,
        }

    def label(self) -> NvList:
        """The nvlist of each label."""
        head = {**self._head(), "top_guid": self.guid, "guid": self.guid, "vdev_children": 1}
        return {**head, "vdev_tree": self._disk(), "features_for_read": dict(self.features)}

    def meta_objset(self) -> NvList:
        """The nvlist of the ``config`` object."""
        root: NvList = {"type": "root", "id": 0, "guid": self.pool_guid, "create_txg": self.txg}
        root["children"] = [self._disk()]
        return {
            **self._head(),
            "vdev_children": 1,
            "vdev_tree": root,
            "features_for_read": dict(self.features),
        }
