"""Names that pools and datasets can have (``pool_namecheck`` and ``entity_namecheck``, zfs_namecheck.c)."""

from __future__ import annotations

import re

from unikiln.errors import UsageError

MAX_LENGTH = 255
"""Bytes in a dataset's full name (``ZFS_MAX_DATASET_NAME_LEN`` less the NUL)."""
MAX_DEPTH = 50
"""Components in a dataset's name (``zfs_max_dataset_nesting``)."""

_POOL = re.compile(r"[A-Za-z][A-Za-z0-9_.: -]*")
_COMPONENT = re.compile(r"[A-Za-z0-9_.: -]+")
_RESERVED = re.compile(r"(mirror|raidz|draid|spare)|log$")


def check_pool_name(name: str) -> None:
    """Refuse a name that no pool can have.

    :raises UsageError: says why
    """
    if not _POOL.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a pool",
            hint="begin with a letter; then letters, digits, _ . : and - only",
        )
    if _RESERVED.match(name):
        raise UsageError(
            f"{name!r} is no name for a pool", hint="OpenZFS keeps such names for kinds of devices"
        )


def check_dataset_name(pool: str, path: str) -> None:
    """Refuse a path below ``pool`` (without it; empty or ``/`` is the pool itself) that no dataset can have.

    :raises UsageError: says why
    """
    parts = [part for part in path.split("/") if part]
    for part in parts:
        if not _COMPONENT.fullmatch(part) or part in (".", ".."):
            raise UsageError(
                f"{part!r} is no name for a dataset",
                hint="letters, digits, _ . : - and spaces only, not . or ..",
            )
    if len("/".join([pool, *parts])) > MAX_LENGTH or len(parts) >= MAX_DEPTH:
        raise UsageError(f"dataset {path!r} is too long or too deep", hint=f"at most {MAX_LENGTH} characters")
