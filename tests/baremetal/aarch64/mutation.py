"""What can be wrong with a case: each mutation makes one thing wrong, and returns whether it could."""

from __future__ import annotations

from collections.abc import Callable

from tests.baremetal.aarch64.draft import DEVICE, E0PD, EPD, TBI, Draft, Slot
from tests.baremetal.aarch64.guest import RAM_END
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.registers import SCTLR_A, SCTLR_M
from unikiln.mmu.request import Access

Mutation = Callable[[Draft], bool]

_PA_BITS = 52


def invalid_entry(draft: Draft) -> bool:
    """An entry has bit 0 clear, and the rest of it may be anything."""
    slot = draft.random.choice(draft.path)
    slot.value = (slot.value if draft.chance(0.5) else draft.random.getrandbits(64)) & ~bits.VALID
    return True


def reserved_entry(draft: Draft) -> bool:
    """A block where the level has none, or a page without bit 1."""
    slots = [slot for slot in draft.path if not slot.step.leaf_mask or slot.step is draft.layout.steps[-1]]
    if not slots:
        return False
    slot = draft.random.choice(slots)
    slot.value = slot.value & ~bits.TABLE_OR_PAGE
    return True


def _lead_to(draft: Draft, slot: Slot, address: int) -> None:
    everything = draft.layout.address_bits((1 << _PA_BITS) - 1)
    slot.value = slot.value & ~everything | draft.layout.address_bits(address)


def address_too_large(draft: Draft) -> bool:
    """The address in an entry has a bit above the output address size."""
    size = draft.parameters.oa_bits
    if size >= _PA_BITS:
        return False
    slot = draft.random.choice(draft.path)
    lowest = max(size, slot.step.shift) if slot is draft.path[-1] else size
    address = draft.layout.output_address(slot.value) | 1 << draft.random.randrange(lowest, _PA_BITS)
    _lead_to(draft, slot, address)
    return True


def table_nowhere(draft: Draft) -> bool:
    """A table lies where there is no memory."""
    tables = draft.path[:-1]
    if not tables:
        return False
    address = max(RAM_END, draft.random.getrandbits(draft.parameters.oa_bits))
    _lead_to(draft, draft.random.choice(tables), address & -draft.layout.page_size)
    return True


def root_nowhere(draft: Draft) -> bool:
    """The root table lies where there is no memory."""
    address = max(RAM_END, draft.random.getrandbits(min(48, draft.parameters.oa_bits)))
    draft.ttbr = draft.ttbr & (0xFFFF << 48 | 1) | address & -draft.layout.page_size
    return True


def root_too_large(draft: Draft) -> bool:
    """TTBR has an address bit above the output address size.

    That may be among its bits 5:2, unless the table is so small that QEMU takes them for BADDR[5:2] as well.
    """
    size = draft.parameters.oa_bits
    if size >= 48:
        if draft.layout.steps[0].mask < 7:  # a table that small
            return False
        draft.ttbr |= 1 << draft.random.randrange(2, 6)
    else:
        draft.ttbr |= 1 << draft.random.randrange(size, 48)
    return True


def not_accessed(draft: Draft) -> bool:
    """The leaf has AF = 0."""
    draft.path[-1].value &= ~bits.AF
    return True


def other_permissions(draft: Draft) -> bool:
    """The leaf has one of its permission bits the other way round."""
    draft.path[-1].value ^= draft.random.choice(
        (bits.AP_EL0, bits.AP_READ_ONLY, bits.UXN, bits.PXN, bits.DBM)
    )
    return True


def restricted_above(draft: Draft) -> bool:
    """A table restricts what is below it."""
    if len(draft.path) < 2:
        return False
    bit = draft.random.choice((bits.PXN_TABLE, bits.UXN_TABLE, bits.AP_TABLE_NO_EL0, bits.AP_TABLE_READ_ONLY))
    draft.random.choice(draft.path[:-1]).value |= bit
    return True


def not_canonical(draft: Draft) -> bool:
    """A bit above the input address size is not as bit 55, or the top byte is not."""
    above = [at for at in range(draft.layout.va_bits, 64) if at != 55]
    draft.va ^= 1 << draft.random.choice(above)
    return True


def misaligned(draft: Draft) -> bool:
    """The address is no multiple of the size, where that is a fault: for some accesses, and some memory."""
    operation = draft.operation
    if operation.size == 1 or operation.access is Access.EXECUTE:
        return False
    offset = draft.random.randrange(1, operation.size)
    low = draft.va & 15
    if operation.atomic:  # with FEAT_LSE2 only what crosses 16 bytes must fault
        offset += 16 - operation.size - low
    elif low + operation.size * operation.count + offset > 16:
        offset -= operation.size
    draft.va += offset
    draft.pa += offset
    if draft.chance(0.4):
        draft.sctlr |= SCTLR_A
    if draft.chance(0.5):
        draft.path[-1].value = (
            draft.path[-1].value & ~(7 << bits.ATTR_INDX_SHIFT) | DEVICE << bits.ATTR_INDX_SHIFT
        )
    return True


def device_memory(draft: Draft) -> bool:
    """The leaf maps Device memory."""
    draft.path[-1].value &= ~(7 << bits.ATTR_INDX_SHIFT)
    return True


def other_size(draft: Draft) -> bool:
    """TnSZ is another one, legal or not."""
    legal = draft.tsz_range()
    draft.tsz = draft.random.choice(legal) if draft.chance(0.6) else draft.random.randrange(64)
    return True


def smaller_output(draft: Draft) -> bool:
    """IPS is another one."""
    draft.ips = draft.random.randrange(7)
    return True


def walks_disabled(draft: Draft) -> bool:
    """EPDn is set."""
    draft.tcr_flags |= draft.bit(EPD)
    return True


def closed_to_el0(draft: Draft) -> bool:
    """E0PDn is set, which closes only if the processor has it."""
    draft.tcr_flags |= draft.bit(E0PD)
    return True


def top_byte(draft: Draft) -> bool:
    """TBIn is the other way round."""
    draft.tcr_flags ^= draft.bit(TBI)
    return True


def garbage(draft: Draft) -> bool:
    """An entry has random bits, but for its address, and the reserved value of SH."""
    slot = draft.random.choice(draft.path)
    kept = draft.layout.address_bits((1 << _PA_BITS) - 1) | 3 << bits.SH_SHIFT
    slot.value = slot.value & kept | draft.random.getrandbits(64) & ~kept
    return True


def mmu_off(draft: Draft) -> bool:
    """SCTLR_EL1.M is clear: the address is physical, and may be too large for that."""
    draft.sctlr &= ~SCTLR_M
    draft.upper = False
    draft.va = draft.pa
    if draft.chance(0.3):
        draft.va |= 1 << draft.random.randrange(32, 64)
    return True


MUTATIONS: tuple[tuple[Mutation, int], ...] = (
    (invalid_entry, 6),
    (reserved_entry, 4),
    (address_too_large, 6),
    (table_nowhere, 5),
    (root_nowhere, 2),
    (root_too_large, 4),
    (not_accessed, 8),
    (other_permissions, 8),
    (restricted_above, 6),
    (not_canonical, 4),
    (misaligned, 8),
    (device_memory, 3),
    (other_size, 3),
    (smaller_output, 3),
    (walks_disabled, 2),
    (closed_to_el0, 3),
    (top_byte, 1),
    (garbage, 4),
    (mmu_off, 3),
)
"""With how often each is chosen."""
