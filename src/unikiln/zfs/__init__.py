"""The ZFS on-disk format, read and written without OpenZFS.

``open_pool(devices)`` opens a pool; :class:`~unikiln.zfs.pool.Pool` leads to datasets, and these to paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unikiln.zfs.dataset import Dataset
    from unikiln.zfs.path import ZfsPath
    from unikiln.zfs.pool import Pool, open_pool

__all__ = ["Dataset", "Pool", "ZfsPath", "open_pool"]
_HOMES = {"Dataset": "dataset", "Pool": "pool", "ZfsPath": "path", "open_pool": "pool"}


def __getattr__(name: str) -> object:
    """Import what is asked for only then: most of the package needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
