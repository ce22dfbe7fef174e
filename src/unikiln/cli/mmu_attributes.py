"""How ``mmu walk`` and ``map`` show what a mapping allows and is."""

from __future__ import annotations

from typing import TYPE_CHECKING

_SHORT = {"non-shareable": " NSH", "outer shareable": " OSH", "inner shareable": " ISH"}


if TYPE_CHECKING:
    from unikiln.mmu.translation import Attributes


def attribute_record(attributes: Attributes) -> dict[str, object]:
    """For JSON."""
    return {
        "privileged": attributes.privileged,
        "user": attributes.user,
        "memory_type": attributes.memory_type,
        "shareability": attributes.shareability,
        "global": attributes.is_global,
        "flags": list(attributes.flags),
    }


def shareability(attributes: Attributes) -> str:
    """As assemblers write it, with a space before; of Device memory nothing: it is always outer shareable."""
    return "" if attributes.memory_type.startswith("Device") else _SHORT.get(attributes.shareability, "")
