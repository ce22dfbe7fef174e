"""Check the four labels of every device: their configurations, and their rings of uberblocks."""

from __future__ import annotations

from collections.abc import Iterator

from unikiln.zfs.assembly import Member
from unikiln.zfs.pool import Pool
from unikiln.zfs.vdev.labels import Label, number
from unikiln.zfs.vdev.top import leaf_guids

_IDENTITY = ("pool_guid", "guid", "top_guid", "version")


def label_findings(pool: Pool) -> Iterator[str]:
    """One line for each label that cannot be used, or that disagrees with the others of its device."""
    inside = set(leaf_guids(pool.config.get("vdev_tree")))
    for member in pool.members:
        if member.guid not in inside:
            continue  # a cache, a spare, or a disk that was detached
        for label in member.labels:
            where = f"label {label.index} of {member.device.name}"
            yield from (f"{where}: {problem}" for problem in _problems(label, member, pool))


def _problems(label: Label, member: Member, pool: Pool) -> Iterator[str]:
    if label.config is None:
        yield label.problem
        return
    for name in _IDENTITY:
        here, there = number(label.config, name), number(member.config, name)
        if here != there:
            yield f"its {name} is {here}, that of the newest label {there}"
    for slot in label.unsealed:
        yield f"the uberblock in slot {slot} fails its checksum"
    if not label.uberblocks:
        yield "it has no uberblock"
    elif len(pool.members) == 1 and max(each.txg for each in label.uberblocks) < pool.txg:
        yield f"its newest uberblock is older than that of txg {pool.txg}"
