"""Same input, same bytes: times and identifiers that come from the input alone.

Source: the SOURCE_DATE_EPOCH specification of reproducible-builds.org.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping

from unikiln.base.tree import Node, walk
from unikiln.errors import UsageError

_NS = 1_000_000_000


def source_date_epoch(environment: Mapping[str, str] = os.environ) -> int | None:
    """Seconds since 1970 that ``SOURCE_DATE_EPOCH`` tells, if it is set.

    :raises UsageError: it is no whole number
    """
    text = environment.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds")
    return int(text)


def newest(tree: Node) -> int:
    """Seconds since 1970, rounded up, of the last change to any content."""
    return -(-max(node.mtime_ns for _, node in walk(tree)) // _NS)


def settle(tree: Node, epoch: int) -> None:
    """Take out of ``tree`` the times that reading or copying it changes, and those after ``epoch``.

    Access and status change times become the modification time.
    """
    for _, node in walk(tree):
        time_ns = min(node.mtime_ns, epoch * _NS)
        node.atime_ns = node.mtime_ns = node.ctime_ns = time_ns


def random_seed() -> int:
    """A 64-bit seed that no other build has."""
    return secrets.randbits(64)


def fixed_seed(text: str | None, tree: Node) -> int:
    """A 64-bit seed from ``text``; without one, from what ``tree`` looks like, so that trees differ."""
    digest = hashlib.sha256()
    if text is not None:
        digest.update(text.encode("utf-8", "surrogateescape"))
    else:
        for path, node in walk(tree):
            fields = (node.mode, node.uid, node.gid, node.mtime_ns, node.size, node.target)
            digest.update(path + b"\0" + repr(fields).encode())
    return int.from_bytes(digest.digest()[:8], "big")
