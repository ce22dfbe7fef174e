"""Who may do what with a page, and what memory it is (SDM vol. 3, 4.6 and 4.9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.mmu.x86.paths import (
    FETCH,
    PLAIN,
    READ,
    ROOT,
    SUPERVISOR_FETCH,
    SUPERVISOR_READ,
    SUPERVISOR_WRITE,
    USER_RW,
    VA,
    WRITE,
    fault,
    path,
    translated,
    with_cr4,
)
from unikiln.mmu import Access, Request
from unikiln.mmu.x86 import entry as bits
from unikiln.mmu.x86 import registers as r
from unikiln.mmu.x86.fault import Fault
from unikiln.mmu.x86.permission import Denial
from unikiln.mmu.x86.walk import walk

P, RW, US, G, XD = bits.P, bits.RW, bits.US, bits.G, bits.XD


# -- rights


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_every_entry_must_be_for_user_mode(level: int) -> None:
    memory = path(flags={level: P | RW})
    for request, code in ((READ, 5), (WRITE, 7), (FETCH, 0x15)):
        found = fault(memory, request=request)
        assert (found.denial, found.error_code, found.level) == (Denial.SUPERVISOR_PAGE, code, 1)
    for request in (SUPERVISOR_READ, SUPERVISOR_WRITE, SUPERVISOR_FETCH):
        assert translated(memory, with_cr4(r.CR4_SMEP, r.CR4_SMAP), request=request)


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_every_entry_must_be_writable(level: int) -> None:
    memory = path(flags={level: P | US})
    assert fault(memory, request=WRITE).denial is Denial.READ_ONLY
    assert fault(memory, request=SUPERVISOR_WRITE).error_code == 3
    unprotected = replace(PLAIN, cr0=r.CR0_PE | r.CR0_PG)
    assert translated(memory, unprotected, request=SUPERVISOR_WRITE)
    assert fault(memory, unprotected, request=WRITE).error_code == 7, "CR0.WP is for supervisor mode"
    assert translated(memory)


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_no_entry_may_disable_execution(level: int) -> None:
    memory = path(flags={level: USER_RW | XD})
    for request, code in ((FETCH, 0x15), (SUPERVISOR_FETCH, 0x11)):
        found = fault(memory, request=request)
        assert (found.denial, found.error_code) == (Denial.EXECUTE_DISABLE, code)
    assert translated(memory, request=WRITE)


def test_smep_keeps_supervisor_mode_from_user_code() -> None:
    assert translated(path(), request=SUPERVISOR_FETCH)
    found = fault(path(), with_cr4(r.CR4_SMEP), request=SUPERVISOR_FETCH)
    assert (found.denial, found.error_code) == (Denial.SMEP, 0x11)
    assert translated(path(), with_cr4(r.CR4_SMEP), request=FETCH)
    assert translated(path(flags={3: P | RW}), with_cr4(r.CR4_SMEP), request=SUPERVISOR_FETCH)


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_smap_keeps_supervisor_mode_from_user_data(access: Access) -> None:
    smap, request = with_cr4(r.CR4_SMAP), Request(access, privileged=True)
    assert fault(path(), smap, request=request).denial is Denial.SMAP
    assert translated(path(), smap, request=replace(request, ac=True))
    assert translated(path(), smap, request=Request(access))
    assert translated(path(), smap, request=SUPERVISOR_FETCH), "fetches are SMEP's affair"
    assert fault(
        path(flags={1: P | US}), smap, request=replace(request, access=Access.WRITE, ac=True)
    ).denial is (Denial.READ_ONLY)


def test_a_fetch_is_named_only_where_it_can_be_refused() -> None:
    """4.7: I/D is 0 without NXE and SMEP."""
    without = replace(PLAIN, efer=r.EFER_LME | r.EFER_LMA)
    absent = path(flags={1: 0})
    assert fault(absent, without, request=FETCH).error_code == 4
    assert fault(absent, replace(without, cr4=r.CR4_PAE | r.CR4_SMEP), request=FETCH).error_code == 0x14


def key(number: int) -> int:
    return USER_RW | number << bits.KEY_SHIFT


@pytest.mark.parametrize(
    ("rights", "request_", "cr0_wp", "code"),
    [
        (0, WRITE, True, None),
        (1, READ, True, 0x25),
        (1, SUPERVISOR_READ, True, 0x21),
        (1, FETCH, True, None),
        (2, READ, True, None),
        (2, WRITE, True, 0x27),
        (2, WRITE, False, 0x27),
        (2, SUPERVISOR_WRITE, True, 0x23),
        (2, SUPERVISOR_WRITE, False, None),
        (3, READ, True, 0x25),
    ],
)
def test_protection_keys_of_user_pages(
    rights: int, request_: Request, cr0_wp: bool, code: int | None
) -> None:
    cr0 = r.CR0_PE | r.CR0_PG | (r.CR0_WP if cr0_wp else 0)
    regime = with_cr4(r.CR4_PKE, cr0=cr0, pkru=rights << 2 * 9)
    result = walk(path(flags={1: key(9)}), regime, VA, request_)
    assert (result.error_code if isinstance(result, Fault) else None) == code
    if isinstance(result, Fault):
        assert result.denial is Denial.PROTECTION_KEY
    assert translated(path(flags={1: key(8)}), regime, request=request_), "another key"
    assert translated(path(flags={1: key(9)}), replace(regime, cr4=PLAIN.cr4), request=request_), (
        "CR4.PKE is 0"
    )


def test_protection_keys_of_supervisor_pages() -> None:
    regime = with_cr4(r.CR4_PKS, pkrs=2 << 2 * 5)
    memory = path(flags={4: P | RW, 1: key(5)})
    assert fault(memory, regime, request=SUPERVISOR_WRITE).error_code == 0x23
    assert translated(memory, regime, request=SUPERVISOR_READ)
    assert fault(memory, replace(regime, pkrs=3 << 10), request=READ).error_code == 5, "U/S alone refuses"
    assert translated(path(flags={1: key(5)}), regime, request=SUPERVISOR_WRITE), "a user page"


def test_pk_is_told_beside_other_reasons() -> None:
    """4.7: PK depends on the key alone, whatever else refuses the access."""
    regime = with_cr4(r.CR4_PKE, r.CR4_SMAP, pkru=1)
    found = fault(path(), regime, request=SUPERVISOR_READ)
    assert (found.denial, found.error_code) == (Denial.SMAP, 0x21)


# -- attributes


def test_attributes_tell_both_modes() -> None:
    assert (translated(path()).attributes.user, translated(path()).attributes.privileged) == ("rwx", "rwx")
    guarded = with_cr4(r.CR4_SMEP, r.CR4_SMAP)
    attributes = translated(path(flags={3: P | US}), guarded).attributes
    assert (attributes.user, attributes.privileged) == ("r-x", "---")
    attributes = translated(path(flags={3: P | XD}), guarded, request=SUPERVISOR_READ).attributes
    assert (attributes.user, attributes.privileged) == ("---", "r--")


def test_a_page_is_global_if_the_leaf_says_so_and_cr4() -> None:
    memory = path(flags={1: USER_RW | G})
    assert translated(memory).attributes.is_global
    assert not translated(memory, replace(PLAIN, cr4=r.CR4_PAE)).attributes.is_global
    assert not translated(path(flags={2: USER_RW | G})).attributes.is_global


@pytest.mark.parametrize(
    ("leaf", "flags", "memory_type"),
    [
        (1, 0, "WB"),
        (1, bits.PWT, "WT"),
        (1, bits.PCD, "UC-"),
        (1, bits.PCD | bits.PWT, "UC"),
        (1, bits.PAT, "WP"),
        (1, bits.PAT | bits.PWT, "WC"),
        (2, 0, "WB"),
        (2, bits.PAT_LARGE | bits.PWT, "WC"),
        (3, bits.PAT_LARGE, "WP"),
    ],
)
def test_the_memory_type_comes_from_pat(leaf: int, flags: int, memory_type: str) -> None:
    linux = replace(PLAIN, pat=0x0000_0105_0007_0406)
    assert (
        translated(path(leaf=leaf, flags={leaf: USER_RW | flags}), linux).attributes.memory_type
        == memory_type
    )


def test_pcid_and_key_are_named() -> None:
    regime = with_cr4(r.CR4_PCIDE, r.CR4_PKE, cr3=ROOT | 0x2A)
    attributes = translated(path(flags={1: key(7)}), regime).attributes
    assert attributes.flags == ("PCID 42", "key 7")
    assert "PCID 42" in str(attributes)
