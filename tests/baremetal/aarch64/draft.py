"""A random case in the making: a regime, and tables that lead from an address to the data window."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.baremetal.aarch64.expect import SCTLR_E0E
from tests.baremetal.aarch64.guest import ARENA_BYTES, RAM_END, WINDOW_BYTES, Guest
from tests.baremetal.aarch64.operation import Operation
from tests.baremetal.aarch64.record import Case
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.config import Config
from unikiln.mmu.aarch64.regime import Parameters, Regime
from unikiln.mmu.aarch64.registers import (
    SCTLR_EE,
    SCTLR_EPAN,
    SCTLR_M,
    SCTLR_WXN,
    TTBR_ASID_SHIFT,
    encode_tcr,
)
from unikiln.mmu.layout import Layout, Step
from unikiln.mmu.request import Access

SCTLR = 0x30D0_0800 | 1 << 2 | 1 << 12 | 1 << 14 | 1 << 15 | 1 << 26 | SCTLR_M
"""RES1 bits; C and I; DZE, UCT and UCI, which let EL0 do cache maintenance."""
SLOT = 64 << 10
"""Each table has a slot of the arena for itself; the largest fills one."""
DEVICE, NORMAL = 0, 1
"""Two indices into MAIR_EL1 that always mean this; the others are random."""
_MAIR = (0x00, 0x04, 0x08, 0x0C, 0x44, 0xFF, 0xBB, 0xF4, 0x4F, 0xEE, 0xAA)
_FAR = frozenset({"ldrb", "ldr", "ldtr", "strw", "str", "sttr", "fetch"})
"""Operations that may go where nothing is: the abort is then an external one."""
_HIERARCHICAL = (
    bits.PXN_TABLE,
    bits.UXN_TABLE,
    bits.AP_TABLE_NO_EL0,
    bits.AP_TABLE_READ_ONLY,
    bits.NS_TABLE,
)
_OTHER_HALF_TSZ = 16

EPD, TBI, HPD, TBID, E0PD = (7, 23), (37, 38), (41, 42), (51, 52), (55, 56)
"""Bits of TCR_EL1 for TTBR0 and TTBR1."""
_A1, _AS, _HA, _HD, _DS = 1 << 22, 1 << 36, 1 << 39, 1 << 40, 1 << 59
_UNIMPLEMENTED = 0.05
"""How often a bit is set that the processor does not know."""


@dataclass(slots=True)
class Slot:
    """An entry on the way, and the step of the walk that reads it."""

    step: Step
    pa: int
    value: int


class Draft:
    """A case that works, unless its permissions do not allow it; mutations change its fields."""

    def __init__(self, random: Random, config: Config, guest: Guest, operation: Operation) -> None:
        self.random, self.config, self.operation = random, config, operation
        self._guest = guest
        self.privileged = operation.only_el1 or self.chance(0.5)
        self.pan = bool(config.pan) and self.chance(0.35)
        self.upper = self.chance(0.5)
        self._choose_regime()
        self.layout = self._layout()
        self.pa = self._choose_target()
        self._make_tables(self._choose_leaf())

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def bit(self, of_halves: tuple[int, int]) -> int:
        """The bit of TCR_EL1 for the half that is tested."""
        return 1 << of_halves[self.upper]

    @property
    def regime(self) -> Regime:
        """The registers as they now are."""
        tsz, granule = (self.tsz, _OTHER_HALF_TSZ), (self.granule, 12)
        ttbr = (self.ttbr, self._guest.fixed_root(bool(self.sctlr & SCTLR_EE)))
        lower, upper = (1, 0) if self.upper else (0, 1)
        tcr = encode_tcr(
            t0sz=tsz[lower],
            t1sz=tsz[upper],
            granule0=granule[lower],
            granule1=granule[upper],
            ips=self.ips,
            flags=self.tcr_flags,
        )
        return Regime(tcr, ttbr[lower], ttbr[upper], self.mair, self.sctlr, self.config)

    @property
    def parameters(self) -> Parameters:
        """What the walk goes by."""
        return self.regime.parameters(self.upper)

    def tsz_range(self) -> range:
        """The legal values of TnSZ."""
        config = self.config
        wide = bool(self.tcr_flags & _DS) and self.granule in config.lpa2
        smallest = 12 if wide or (self.granule == 16 and config.lva) else 16
        largest = (47 if self.granule == 16 else 48) if config.ttst else 39
        return range(smallest, largest + 1)

    def case(self, story: tuple[str, ...], x1: int, x2: int) -> Case:
        """The case as it now is."""
        return Case(
            self.regime,
            self.operation.name,
            self.privileged,
            self.va,
            tuple((slot.pa, slot.value) for slot in self.path),
            self.pan,
            x1,
            x2,
            self.pa if self.pa < RAM_END else 0,
            story,
        )

    def _choose_regime(self) -> None:
        random, config = self.random, self.config
        self.granule = random.choice(sorted(config.granules))
        self.tcr_flags = self._choose_tcr_flags()
        legal = self.tsz_range()
        self.tsz = random.choice(legal[:4]) if self.chance(0.3) else random.choice(legal)
        self.ips = random.choice((5, 6)) if self.chance(0.7) else random.randrange(7)
        fields = [0x00, 0xFF, *random.choices(_MAIR, k=6)]
        self.mair = sum(value << 8 * at for at, value in enumerate(fields))
        self.sctlr = SCTLR
        rare = [(SCTLR_WXN, 0.25), (SCTLR_EE, 0.15), (SCTLR_E0E, 0.15)]
        for bit, probability in [*rare, (SCTLR_EPAN, 0.4 if config.pan > 2 else 0)]:
            self.sctlr |= bit if self.chance(probability) else 0
        self.ttbr = 0

    def _choose_tcr_flags(self) -> int:
        config = self.config
        chances = [(_A1, True, 0.5), (_AS, True, 0.5), (self.bit(TBI), True, 0.4)]
        chances += [(self.bit(HPD), config.hpds, 0.25), (self.bit(TBID), config.e0pd, 0.2)]
        chances += [
            (_HA, config.hafdbs > 0, 0.35),
            (_HD, config.hafdbs > 1, 0.5),
            (_DS, bool(config.lpa2), 0.4),
        ]
        return sum(bit for bit, has, often in chances if self.chance(often if has else _UNIMPLEMENTED))

    def _layout(self) -> Layout:
        layout = self.parameters.layout
        assert layout is not None
        return layout

    def _choose_target(self) -> int:
        size, count = self.operation.size, self.operation.count
        within = self.random.randrange(0, 17 - size * count, size)
        if (self.operation.at or self.operation.name in _FAR) and self.chance(0.15):
            far = max(RAM_END, self.random.getrandbits(self.parameters.oa_bits))
            return (far & ~15) + within
        window = self._guest.symbols["window"]
        return window + self.random.randrange(0, WINDOW_BYTES, 16) + within

    def _choose_leaf(self) -> Step:
        steps = [step for step in self.layout.steps if step.leaf_mask]
        return steps[-1] if self.chance(0.5) else self.random.choice(steps)

    def _make_tables(self, leaf: Step) -> None:
        steps = [step for step in self.layout.steps if step.level <= leaf.level]
        self.va = self._choose_va(1 << leaf.shift)
        slots = self.random.sample(range(1, ARENA_BYTES // SLOT - 1), len(steps))
        tables = [self._place(step, slot) for step, slot in zip(steps, slots, strict=True)]
        self.path = []
        for at, step in enumerate(steps):
            last = step is leaf
            value = self._leaf(step) if last else self._table(tables[at + 1])
            index = self.va >> step.shift & step.mask
            self.path.append(Slot(step, tables[at] + index * 8, value))
        self.ttbr = tables[0] | self.random.getrandbits(16) << TTBR_ASID_SHIFT | self.random.getrandbits(1)

    def _choose_va(self, leaf_bytes: int) -> int:
        offset = self.random.getrandbits(self.layout.va_bits) & -leaf_bytes | self.pa & leaf_bytes - 1
        va = self.layout.first_va + offset
        if self.tcr_flags & self.bit(TBI) and self.chance(0.6):
            va = va & ~(0xFF << 56) | self.random.getrandbits(8) << 56
        return va

    def _place(self, step: Step, slot: int) -> int:
        """A place for the table that ``step`` indexes: the root's is as small as the table."""
        first = step is self.layout.steps[0]
        size = (step.mask + 1) * 8 if first else self.layout.page_size
        aligned = max(size, 64)
        return self._guest.symbols["arena"] + slot * SLOT + self.random.randrange(SLOT // aligned) * aligned

    def _table(self, address: int) -> int:
        value = bits.LEAF
        if self.chance(0.25):
            value |= sum(bit for bit in _HIERARCHICAL if self.chance(0.35))
        if self.chance(0.3):
            value |= self.random.getrandbits(8) << 51 | self.random.getrandbits(10) << 2
        return value & ~self._address_bits | self.layout.address_bits(address)

    @property
    def _address_bits(self) -> int:
        """The bits of an entry that hold an address."""
        return self.layout.address_bits((1 << 52) - 1)

    def _leaf(self, step: Step) -> int:
        random = self.random
        value = step.leaf_value | self._permissions()
        index = NORMAL if self.chance(0.6) else random.randrange(8)
        value |= index << bits.ATTR_INDX_SHIFT | random.choice((0, 2, 3)) << bits.SH_SHIFT
        for bit, probability in ((bits.NG, 0.5), (bits.CONTIGUOUS, 0.2), (bits.NS, 0.1), (bits.GUARDED, 0.1)):
            value |= bit if self.chance(probability) else 0
        if self.chance(0.3):
            value |= random.getrandbits(9) << 55
        return value & ~self._address_bits | self.layout.address_bits(self.pa & -(1 << step.shift))

    def _permissions(self) -> int:
        """AF, AP, UXN, PXN and DBM: what the operation needs, or at random."""
        value = sum(bit for bit in (bits.UXN, bits.PXN, bits.DBM) if self.chance(0.35))
        value |= sum(bit for bit in (bits.AP_EL0, bits.AP_READ_ONLY) if self.chance(0.5))
        if self.chance(0.35):
            return value | (bits.AF if self.chance(0.8) else 0)
        value |= bits.AF
        if self.operation.access is Access.EXECUTE:
            value &= ~(bits.UXN | bits.PXN)
            return value | bits.AP_READ_ONLY
        if self.operation.access is Access.WRITE and not (value & bits.DBM and self.tcr_flags & _HD):
            value &= ~bits.AP_READ_ONLY
        wants_el0 = not self.privileged or self.operation.unprivileged or "e0" in self.operation.name
        return value | bits.AP_EL0 if wants_el0 else value & ~bits.AP_EL0 if self.pan else value
