"""What ``mmu walk``, ``map`` and ``hot`` look at, a memory dump or a live guest; the options that name it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from unikiln.cli.flags import takes
from unikiln.cli.number import parse_number
from unikiln.errors import UsageError

if TYPE_CHECKING:
    from unikiln.mmu.dump import Dump
    from unikiln.mmu.space import Regime, Space

_Config = TypeVar("_Config")
_TERMINATED = 128 + signal.SIGTERM


def _register(name: str, text: str) -> Any:  # noqa: ANN401
    return typer.Option(f"--{name}", metavar="VALUE", help=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The options as given; numbers are text still."""

    memory: Annotated[
        Path | None, typer.Option("--memory", metavar="FILE", help="A memory dump: ELF core or raw.")
    ] = None
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="ADDRESS", help="Physical address at which a raw dump begins."),
    ] = None
    ttbr0: Annotated[str | None, _register("ttbr0", "TTBR0_EL1 of an AArch64 dump.")] = None
    ttbr1: Annotated[str | None, _register("ttbr1", "TTBR1_EL1.")] = None
    tcr: Annotated[str | None, _register("tcr", "TCR_EL1.")] = None
    mair: Annotated[str | None, _register("mair", "MAIR_EL1, for names of memory types.")] = None
    sctlr: Annotated[str | None, _register("sctlr", "SCTLR_EL1; default: only M is set.")] = None
    cr3: Annotated[str | None, _register("cr3", "CR3 of an x86-64 dump; default: as in the core.")] = None
    cr4: Annotated[str | None, _register("cr4", "CR4; default: as in the core, or PAE and PGE.")] = None
    efer: Annotated[str | None, _register("efer", "EFER; default: LME, LMA and NXE.")] = None
    pat: Annotated[str | None, _register("pat", "IA32_PAT; default: as after a reset.")] = None
    cpu: Annotated[
        str | None,
        typer.Option("--cpu", metavar="NAME", help="Processor of a dump, such as cortex-a57; default: max."),
    ] = None
    qmp: Annotated[
        Path | None, typer.Option("--qmp", metavar="SOCKET", help="A live guest: QEMU's QMP socket.")
    ] = None
    vcpu: Annotated[int, typer.Option("--vcpu", metavar="N", help="Virtual processor, from 0 on.")] = 0


VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell how long a live guest was stopped.")
]
RangeOption = Annotated[
    str | None,
    typer.Option("--range", metavar="A-B", help="Only what lies at these addresses, both included."),
]


takes_source = takes("source", Source)
"""Gives a verb the options of :class:`Source`; it gets them together, as its argument ``source``."""


class Place(Protocol):
    """What can be looked at, more than once. ``paused``: seconds that the last look stopped the guest."""

    paused: float

    def look(self) -> AbstractContextManager[Space]:
        """The address space as it is now, and stands still for the block."""

    def snapshot(self, regime: Regime | None = None) -> Space:
        """The address space with all its tables: that of ``regime``, or the present one."""


@contextmanager
def open_source(source: Source) -> Iterator[Place]:
    """What the options name.

    :raises UsageError: they name nothing, or too much
    :raises MmuError: the dump or the guest cannot be looked at
    """
    if (source.memory is None) == (source.qmp is None):
        raise UsageError("name one thing to look at", hint="--memory FILE, or --qmp SOCKET")
    if source.qmp is None:
        yield _open_dump(source)
        return
    given = [name for name in (*_OF_DUMPS, *_AARCH64, *_X86_64) if getattr(source, name) is not None]
    if given:
        raise UsageError(f"--{given[0]} is for dumps", hint="a live guest has registers of its own")
    from unikiln.mmu.live import LiveGuest

    # What was begun at the guest is ended, too, if this process is asked to end.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        with LiveGuest(source.qmp, source.vcpu) as guest:
            yield guest
    finally:
        signal.signal(signal.SIGTERM, before)


def parse_range(text: str) -> tuple[int, int]:
    """The two addresses of ``--range``.

    :raises UsageError: it is no range
    """
    first, dash, last = text.partition("-")
    if not dash:
        raise UsageError(f"{text!r} is no range", hint="such as 0x400000-0x4fffff")
    low, high = (parse_number(each, what="--range") for each in (first, last))
    if low > high:
        raise UsageError(f"{text!r} is no range", hint="the lower address comes first")
    return low, high


def user_or_kernel(user: bool, kernel: bool) -> bool | None:
    """What ``--user`` and ``--kernel`` leave: True, False, or None for everything.

    :raises UsageError: both are given
    """
    if user and kernel:
        raise UsageError("--user and --kernel leave nothing")
    return True if user else False if kernel else None


def tell_pause(place: Place, verbose: bool) -> None:
    """Tell how long the last look stopped the guest, if one wants to know."""
    if verbose and place.paused:
        print(f"the guest was stopped for {place.paused * 1000:.1f} ms", file=sys.stderr)


_AARCH64 = ("ttbr0", "ttbr1", "tcr", "mair", "sctlr")
_X86_64 = ("cr3", "cr4", "efer", "pat")
_OF_DUMPS = ("base", "cpu")
_EXAMPLE_TCR = "0x5b5103510 for 48-bit addresses and the 4 KiB granule"
_EPD0, _EPD1 = 1 << 7, 1 << 23


class _StillPlace:
    """A dump: every look shows the same."""

    paused = 0.0

    def __init__(self, space: Space) -> None:
        self._space = space

    def look(self) -> AbstractContextManager[Space]:
        return nullcontext(self._space)

    def snapshot(self, regime: Regime | None = None) -> Space:
        return self._space


def _open_dump(source: Source) -> Place:
    from unikiln.mmu.dump import Dump
    from unikiln.mmu.space import Space
    from unikiln.mmu.x86 import regime as x86

    assert source.memory is not None
    dump = Dump(source.memory, _number(source, "base"))
    regime = _aarch64(source) if _is_aarch64(source, dump.contents.arch) else _x86_64(source, dump)
    mair_known = source.mair is not None or isinstance(regime, x86.Regime)
    return _StillPlace(Space(dump, regime, mair_known))


def _is_aarch64(source: Source, arch: str | None) -> bool:
    """Whose registers are given, or what the dump says; and both must agree."""
    arm = any(getattr(source, name) is not None for name in _AARCH64)
    x86 = any(getattr(source, name) is not None for name in _X86_64)
    if (arm and x86) or (arm and arch == "x86_64") or (x86 and arch == "aarch64"):
        raise UsageError("registers of AArch64 and of x86-64 do not go together")
    if not (arm or x86 or arch):
        raise UsageError("which tables?", hint="--ttbr0, --ttbr1 and --tcr; or --cr3")
    return arm or arch == "aarch64"


def _aarch64(source: Source) -> Regime:
    from unikiln.mmu.aarch64.config import PRESETS
    from unikiln.mmu.aarch64.regime import Regime

    if source.ttbr0 is None and source.ttbr1 is None:
        raise UsageError("an AArch64 dump does not tell its tables", hint="--ttbr0, --ttbr1 or both")
    if source.tcr is None:
        raise UsageError("the tables need --tcr", hint=f"such as {_EXAMPLE_TCR}")
    given = {name: _number(source, name) for name in _AARCH64}
    values = {name: value for name, value in given.items() if value is not None}
    for name, epd in (("ttbr0", _EPD0), ("ttbr1", _EPD1)):
        if name not in values:  # that half is not known: nothing is walked for it
            values |= {name: 0, "tcr": values["tcr"] | epd}
    return Regime(config=_preset(source.cpu, PRESETS), **values)


def _x86_64(source: Source, dump: Dump) -> Regime:
    from unikiln.mmu.x86.config import PRESETS
    from unikiln.mmu.x86.regime import Regime

    said = dump.contents.control_registers
    if said and source.vcpu not in range(len(said)):
        raise UsageError(f"the dump has no vcpu {source.vcpu}", hint=f"it has 0 to {len(said) - 1}")
    known: dict[str, int] = {}
    if said:
        cr0, _, _, cr3, cr4 = said[source.vcpu]
        known = {"cr0": cr0, "cr3": cr3, "cr4": cr4}
    given = {name: _number(source, name) for name in _X86_64}
    known |= {name: value for name, value in given.items() if value is not None}
    if "cr3" not in known:
        raise UsageError("this dump does not tell its tables", hint="--cr3")
    return Regime(config=_preset(source.cpu, PRESETS), **known)


def _preset(name: str | None, presets: Mapping[str, _Config]) -> _Config:
    chosen = presets.get((name or "max").lower())
    if chosen is None:
        raise UsageError(f"no processor {name!r}", hint=", ".join(presets))
    return chosen


def _number(source: Source, name: str) -> int | None:
    text: str | None = getattr(source, name)
    return None if text is None else parse_number(text, what=f"--{name}")
