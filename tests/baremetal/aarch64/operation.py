"""The operations of start.S: what each asks of the MMU, and what it does with the data it reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unikiln.mmu.request import Access, Request

Effect = Callable[[Sequence[int], int, int], tuple[Sequence[int] | None, int, int]]
"""From the elements in memory, X1 and X2: the new elements (None: nothing is stored), X1 and X2."""


def _load(memory: Sequence[int], x1: int, x2: int) -> tuple[None, int, int]:
    return None, x1, memory[0]


def _load_pair(memory: Sequence[int], x1: int, x2: int) -> tuple[None, int, int]:
    return None, memory[0], memory[1]


def _store(memory: Sequence[int], x1: int, x2: int) -> tuple[Sequence[int], int, int]:
    return [x1, x2][: len(memory)], x1, x2


def _store_exclusive(memory: Sequence[int], x1: int, x2: int) -> tuple[Sequence[int], int, int]:
    return [x1], x1, 0


def _add(memory: Sequence[int], x1: int, x2: int) -> tuple[Sequence[int], int, int]:
    return [memory[0] + x1], x1, memory[0]


def _swap(memory: Sequence[int], x1: int, x2: int) -> tuple[Sequence[int], int, int]:
    return [x1], x1, memory[0]


def _clear(memory: Sequence[int], x1: int, x2: int) -> tuple[Sequence[int], int, int]:
    return [memory[0] & ~x1], x1, memory[0]


def _compare_and_swap(memory: Sequence[int], x1: int, x2: int) -> tuple[Sequence[int] | None, int, int]:
    return [x1] if memory[0] == x2 else None, x1, memory[0]


def _nothing(memory: Sequence[int], x1: int, x2: int) -> tuple[None, int, int]:
    return None, x1, x2


@dataclass(frozen=True, slots=True)
class Operation:
    """One stub.

    ``size``, ``count``: bytes of an element, and how many there are; ``instructions``: those before its SVC.
    ``zeroes``: the MMU is asked as for DC ZVA; ``block``: it stores zeroes as that does.
    ``needs``: the feature beside Armv8.0 that the processor must have; ``only_el1``: it is undefined at EL0.
    """

    name: str
    access: Access
    size: int
    effect: Effect = _nothing
    count: int = 1
    atomic: bool = False
    zeroes: bool = False
    block: bool = False
    unprivileged: bool = False
    cache_maintenance: bool = False
    at: bool = False
    only_el1: bool = False
    needs: str = ""
    instructions: int = 1

    @property
    def accesses(self) -> bool:
        """Whether it does anything with what it translates."""
        return self.effect is not _nothing or self.block or self.access is Access.EXECUTE

    @property
    def modifies(self) -> bool:
        """Whether it reads and writes in one."""
        return self.atomic and self.access is Access.WRITE and self.instructions == 1

    def requests(self, *, privileged: bool, pan: bool) -> tuple[Request, ...]:
        """What each of its instructions asks of the MMU when executed at EL1 (``privileged``) or at EL0."""
        as_el1 = privileged and not self.name.startswith("at_s1e0")
        minds_pan = not self.at or self.name.endswith("p")
        accesses = (self.access,) if self.instructions == 1 else (Access.READ, Access.WRITE)
        return tuple(
            Request(
                access,
                privileged=as_el1,
                size=self.size,
                atomic=self.atomic,
                modifies=self.modifies,
                zeroes=self.zeroes,
                cache_maintenance=self.cache_maintenance,
                at=self.at,
                unprivileged=self.unprivileged and privileged,
                pan=pan and minds_pan,
            )
            for access in accesses
        )


_READ, _WRITE, _EXECUTE = Access
_AT = tuple(
    Operation(
        f"at_s1{level}{suffix}",
        _WRITE if suffix[0] == "w" else _READ,
        1,
        at=True,
        only_el1=True,
        needs="pan2" if suffix.endswith("p") else "",
    )
    for level, suffix in (("e1", "r"), ("e1", "w"), ("e0", "r"), ("e0", "w"), ("e1", "rp"), ("e1", "wp"))
)
_CACHE = tuple(
    Operation(
        name,
        _WRITE if name == "dc_ivac" else _READ,
        1,
        cache_maintenance=True,
        only_el1=name == "dc_ivac",
        needs="dpb" if name == "dc_cvap" else "",
    )
    for name in ("dc_cvac", "dc_cvau", "dc_civac", "dc_ivac", "dc_cvap", "ic_ivau")
)
_ALL = (
    Operation("ldrb", _READ, 1, _load),
    Operation("ldrh", _READ, 2, _load),
    Operation("ldrw", _READ, 4, _load),
    Operation("ldr", _READ, 8, _load),
    Operation("ldp", _READ, 8, _load_pair, count=2),
    Operation("strb", _WRITE, 1, _store),
    Operation("strh", _WRITE, 2, _store),
    Operation("strw", _WRITE, 4, _store),
    Operation("str", _WRITE, 8, _store),
    Operation("stp", _WRITE, 8, _store, count=2),
    Operation("ldtr", _READ, 8, _load, unprivileged=True),
    Operation("sttr", _WRITE, 8, _store, unprivileged=True),
    Operation("ldxr", _READ, 8, _load, atomic=True),
    Operation("ldaxrb", _READ, 1, _load, atomic=True),
    Operation("ldxr_stxr", _WRITE, 8, _store_exclusive, atomic=True, instructions=2),
    Operation("ldadd", _WRITE, 8, _add, atomic=True, needs="lse"),
    Operation("swp", _WRITE, 8, _swap, atomic=True, needs="lse"),
    Operation("ldclrb", _WRITE, 1, _clear, atomic=True, needs="lse"),
    Operation("cas", _WRITE, 8, _compare_and_swap, atomic=True, needs="lse"),
    Operation("dc_zva", _WRITE, 1, zeroes=True, block=True),
    Operation("fetch", _EXECUTE, 4),
    *_CACHE,
    *_AT,
)
OPERATIONS = {operation.name: operation for operation in _ALL}
