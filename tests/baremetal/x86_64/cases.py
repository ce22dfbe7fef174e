"""Random cases for the judge: registers, an address, the entries on its path, and an access."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from tests.baremetal.x86_64.guest import DATA, DATA_BYTES, LEVELS, RESULTS, TABLES, USER_MODE, Kind, word
from unikiln.mmu.request import Access, Request
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86 import registers as r
from unikiln.mmu.x86.config import Config
from unikiln.mmu.x86.regime import Regime

EFLAGS_FIXED = 1 << 1
EFLAGS_AC = 1 << 18

ROOTS = [TABLES + frame * 4096 for frame in range(2, 6)]
_FRAMES = [TABLES + frame * 4096 for frame in range(6, 24)]
_JUDGES_SLOTS = frozenset(ROOTS)
"""None is aligned as a large page is: an entry for one that gets PS by noise sets reserved bits."""
_BEYOND_RAM = 1 << 34
_FREE = bits.PWT | bits.PCD | bits.A | bits.D | bits.G | 7 << 9 | 0x7FF << 52
"""What no access but those by key depends on, in any entry."""
_WRITES = (Kind.STORE, Kind.EXCHANGE, Kind.ADD, Kind.COMPARE)
_FOR_TABLES = (Kind.LOAD, Kind.STORE, Kind.EXCHANGE, Kind.ADD)
"""What can be done to a table: its words are no code and no descriptors, and may be 0."""
_WITHOUT_DATA = (Kind.LOAD, Kind.STORE)


@dataclass(frozen=True, slots=True)
class Case:
    """One access.

    ``operand``: what a write leaves in memory; ``entries``: what the judge writes before it, by physical
    address; ``in_ram``: the page is RAM.
    """

    regime: Regime
    va: int
    kind: Kind
    user: bool
    ac: bool
    operand: int
    entries: dict[int, int]
    in_ram: bool

    @property
    def request(self) -> Request:
        """What the MMU is asked: an LDT is read in supervisor mode, whoever makes the processor read it."""
        if self.kind is Kind.SEGMENT:
            return Request(Access.READ, privileged=True, size=8)
        access = Access.WRITE if self.kind in _WRITES else Access.READ
        if self.kind is Kind.FETCH:
            access = Access.EXECUTE
        return Request(access, privileged=not self.user, size=8, atomic=self.kind > Kind.FETCH, ac=self.ac)


def encode(case: Case, operand: int) -> tuple[object, ...]:
    """The case as the judge reads it, a row for an array of :data:`CASE`."""
    regime, padding = case.regime, [0] * (LEVELS - len(case.entries))
    return (
        case.va,
        case.kind | USER_MODE if case.user else case.kind,
        regime.cr0,
        regime.cr3,
        regime.cr4,
        regime.efer,
        EFLAGS_FIXED | (EFLAGS_AC if case.ac else 0),
        operand,
        regime.pkru,
        regime.pkrs,
        [*case.entries, *padding],
        [*case.entries.values(), *padding],
        *[0] * len(RESULTS),
        [0] * LEVELS,
        [0] * 3,
    )


class Generator:
    """Draws cases for a processor, in 4-level or 5-level paging."""

    def __init__(self, rng: Random, config: Config, *, la57: bool) -> None:
        self._rng, self._config, self._la57 = rng, config, la57
        self._levels = 5 if la57 else 4

    def draw(self) -> Case:
        """A case; most reach a page, and many of them may."""
        while True:
            case = self._draw()
            if _JUDGES_SLOTS.isdisjoint(case.entries):
                return case

    def _draw(self) -> Case:
        rng = self._rng
        if rng.random() < 0.02:
            return self._loop()
        kind, user, ac = Kind(rng.randrange(len(Kind))), rng.random() < 0.5, rng.random() < 0.5
        regime = self._regime()
        leaf_level = rng.choices((1, 2, 3, 4), (60, 25, 13, 2))[0]
        in_ram = kind not in _WITHOUT_DATA or rng.random() < 0.9
        target = DATA + rng.randrange(DATA_BYTES // 8) * 8
        va = self._address(target, bits.shift_of(leaf_level))
        entries = self._path(regime, va, target if in_ram else target + _BEYOND_RAM, leaf_level)
        if rng.random() < 0.03 and kind is not Kind.SEGMENT:
            va ^= 1 << rng.randrange(self._levels * 9 + 11, 64)
        return Case(regime, va, kind, user, ac, word(rng.getrandbits(32)), entries, in_ram)

    def _loop(self) -> Case:
        """An access to the root table through an entry that leads to that table, at every level."""
        rng = self._rng
        kind, user, ac = rng.choice(_FOR_TABLES), rng.random() < 0.5, rng.random() < 0.5
        regime, slot = self._regime(), rng.randrange(1, 512)
        root = regime.cr3 & -4096
        offset = rng.randrange(1, 512) * 8  # word 0 is the judge's
        va = self._canonical(
            sum(slot << bits.shift_of(level) for level in range(1, self._levels + 1)) | offset
        )
        entries = {root + slot * 8: (self._common(regime) | root) ^ self._noise(1, True, ram=True)}
        return Case(regime, va, kind, user, ac, word(rng.getrandbits(32)), entries, True)

    def _regime(self) -> Regime:
        """Any register values that the processor takes; but key 0, of the judge's pages, keeps its rights."""
        has = self._config
        optional = (
            (has.pge, r.CR4_PGE),
            (has.pcid, r.CR4_PCIDE),
            (has.smep, r.CR4_SMEP),
            (has.smap, r.CR4_SMAP),
            (has.pku, r.CR4_PKE),
            (has.pks, r.CR4_PKS),
        )
        cr4 = (
            r.CR4_PAE
            | (r.CR4_LA57 if self._la57 else 0)
            | self._some(bit for present, bit in optional if present)
        )
        low = self._rng.getrandbits(12) if cr4 & r.CR4_PCIDE else self._some((r.CR3_PWT, r.CR3_PCD))
        return Regime(
            cr3=self._rng.choice(ROOTS) | low,
            cr0=r.CR0_PG | r.CR0_PE | self._some((r.CR0_WP,)),
            cr4=cr4,
            efer=r.EFER_LME | r.EFER_LMA | (self._some((r.EFER_NXE,)) if has.nx else 0),
            pkru=self._rng.getrandbits(32),
            pkrs=self._rng.getrandbits(32) & ~3,
            config=has,
        )

    def _some(self, flags: Iterable[int]) -> int:
        return sum(flag for flag in flags if self._rng.random() < 0.5)

    def _address(self, target: int, shift: int) -> int:
        """A canonical address outside the judge's slot, whose low ``shift`` bits are those of ``target``."""
        width = self._levels * 9 + 12
        slot = self._rng.randrange(1, 512) << width - 9
        va = slot | self._rng.getrandbits(width - 9) & -1 << shift | target & (1 << shift) - 1
        return self._canonical(va)

    def _canonical(self, va: int) -> int:
        width = self._levels * 9 + 12
        return va | -1 << width & (1 << 64) - 1 if va >> width - 1 else va

    def _path(self, regime: Regime, va: int, target: int, leaf_level: int) -> dict[int, int]:
        """Entries from the root to a leaf: they agree for whom the page is, but for noise."""
        rng, common = self._rng, self._common(regime)
        table, entries = regime.cr3 & -4096, {}
        # No frame serves twice, so no entry does: what leads in circles is drawn apart.
        others = [root for root in ROOTS if root != table and rng.random() < 0.1]
        frames = rng.sample(_FRAMES + others, self._levels)
        for level in range(self._levels, leaf_level - 1, -1):
            at = table + (va >> bits.shift_of(level) & 0x1FF) * 8
            if level > leaf_level:
                table = frames.pop()
                value = common & ~bits.XD | table
            else:
                value = common | self._page(target, level)
            entries[at] = value ^ self._noise(level, level > leaf_level, ram=not target & _BEYOND_RAM)
        return entries

    def _common(self, regime: Regime) -> int:
        """The rights in which the entries of a path agree, and XD for its leaf."""
        rng = self._rng
        common = bits.P | bits.RW * (rng.random() < 0.8) | bits.US * (rng.random() < 0.6)
        return common | bits.XD * (bool(regime.efer & r.EFER_NXE) and rng.random() < 0.15)

    def _page(self, target: int, level: int) -> int:
        """The address bits of a leaf, with PS and a random PAT bit where it is large."""
        if level == 1:
            return target & -4096 | bits.PAT * self._rng.getrandbits(1)
        base = target & -1 << bits.shift_of(level)
        return base | bits.PS | bits.PAT_LARGE * self._rng.getrandbits(1)

    def _noise(self, level: int, is_table: bool, *, ram: bool) -> int:
        """Bits to turn: those that mean nothing here at random, the others seldom.

        No table comes to lie where memory is not the cases' own.
        """
        rng = self._rng
        noise = rng.getrandbits(64) & _FREE
        for flag, chance in ((bits.P, 0.02), (bits.RW, 0.06), (bits.US, 0.06), (bits.XD, 0.02)):
            noise |= flag * (rng.random() < chance)
        if is_table or (level == 2 and ram):
            noise |= bits.PS * (rng.random() < 0.02)
        if rng.random() < 0.04:
            low = () if is_table else range(13, bits.shift_of(level))
            noise |= 1 << rng.choice([*low, *range(self._config.pa_bits, 52), 63])
        return noise
