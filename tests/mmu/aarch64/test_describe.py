from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unikiln.errors import MmuError
from unikiln.mmu.aarch64 import descriptor as bits
from unikiln.mmu.aarch64.describe import describe, summary
from unikiln.mmu.aarch64.registers import memory_type

LINUX_MAIR = 0x0004_0044_F0FF
"""Linux since 5.14: normal, tagged, non-cacheable, Device-nGnRnE in 3, Device-nGnRE in 4."""

PAGE = bits.LEAF | bits.AF | 3 << bits.SH_SHIFT


def meanings(value: int, level: int, **options: int | bool) -> dict[str, str]:
    return {field.name: field.meaning for field in describe(value, level, **options)}  # type: ignore[arg-type]


def test_a_kernel_cannot_execute_this_page() -> None:
    """Linux: "execute from non-executable memory", pte=006800010340af07."""
    found = meanings(0x0068_0001_0340_AF07, 3)
    assert found["EL1"] == "rw-: may read, write"
    assert found["EL0"] == "---: no access"
    assert found["PXN"] == "EL1 may not execute"
    assert found["OA[47:12]"] == "output address 0x10340a000"
    assert found["nG"].startswith("not global")


def test_a_kernel_cannot_execute_this_64k_page() -> None:
    """Linux with 64 KiB pages: "execute from non-executable memory", pte=0068000042e80703."""
    found = meanings(0x0068_0000_42E8_0703, 3, granule=16)
    assert found["EL1"] == "rw-: may read, write"
    assert found["OA[47:16]"] == "output address 0x42e80000"


def test_a_kernel_cannot_execute_this_block() -> None:
    """Linux: "execute from non-executable memory", pmd=0068000042000f01, level 2 permission fault."""
    found = meanings(0x0068_0000_4200_0F01, 2)
    assert found["EL1"] == "rw-: may read, write"
    assert found["type"] == "a block"
    assert summary(0x0068_0000_4200_0F01, 2).startswith("block of 2M at 0x42000000: EL0 ---, EL1 rw-")


def test_a_user_page_that_pan_protects() -> None:
    """Linux: "access to user memory outside uaccess routines", pte=00e800000b9baf43."""
    found = meanings(0x00E8_0000_0B9B_AF43, 3)
    assert found["EL0"] == "rw-: may read, write"
    assert found["EL1"] == "rw-: may read, write"
    assert found["DBM"] == "writable and dirty: hardware cleared AP[2], or software did"


def test_unaligned_access_faults_there_because_it_is_device_memory() -> None:
    """Linux: alignment fault on a mapped address, pte=00680000a0010713."""
    found = meanings(0x0068_0000_A001_0713, 3, mair=LINUX_MAIR)
    assert found["AttrIndx"] == "memory type of MAIR_EL1, 0x04: Device-nGnRE"
    assert "Device-nGnRE" in summary(0x0068_0000_A001_0713, 3, mair=LINUX_MAIR)


def test_tables_of_linux() -> None:
    """pgd=180000017e548003 of the linear map, pgd=0800000001a7b003 of a process."""
    kernel = summary(0x1800_0001_7E54_8003, 0)
    assert kernel.startswith("table: the next one, of level 1, is at 0x17e548000; below it: ")
    assert kernel.endswith("no execution by EL0, no execution by EL1")
    assert summary(0x0800_0000_01A7_B003, 0).endswith("below it: no execution by EL1")
    assert summary(0x4020_1003, 2) == "table: the next one, of level 3, is at 0x40201000"


@pytest.mark.parametrize(
    ("value", "level", "options", "said"),
    [
        (0, 3, {}, "invalid, level 3: nothing is mapped here"),
        (0xABC0, 2, {}, "invalid, level 2: with something of software's in the other bits"),
        (0x1001, 3, {}, "reserved, which the walk treats as invalid: at level 3 a page has bit 1 set"),
        (1, 0, {}, "a block at level 0 of the 4K granule needs 52-bit addresses"),
        (1, 1, {"granule": 14}, "a block at level 1 of the 16K granule needs 52-bit addresses"),
        (1, 1, {"granule": 16}, "a block at level 1 of the 64K granule needs 52-bit addresses"),
        (1, 0, {"granule": 14, "wide": True}, "there are no blocks at level 0 of the 16K granule"),
        (1, -1, {"wide": True}, "there are no blocks at level -1 of the 4K granule"),
        (3, -1, {"wide": True}, "table: the next one, of level 0, is at 0x0"),
        (1, 0, {"wide": True}, "block of 512G at 0x0"),
        (1, 1, {}, "block of 1G at 0x0"),
        (1, 2, {"granule": 14}, "block of 32M at 0x0"),
        (1, 1, {"granule": 14, "wide": True}, "block of 64G at 0x0"),
        (1, 2, {"granule": 16}, "block of 512M at 0x0"),
        (1, 1, {"granule": 16, "wide": True}, "block of 4T at 0x0"),
        (3, 3, {"granule": 14}, "page of 16K at 0x0"),
    ],
)
def test_kinds(value: int, level: int, options: dict[str, int], said: str) -> None:
    wide = bool(options.get("wide"))
    assert said in summary(value, level, granule=options.get("granule", 12), wide=wide)


@pytest.mark.parametrize(
    ("level", "granule", "wide", "said"),
    [
        (-1, 12, False, "no level -1 with the 4K granule without 52-bit addresses (it has levels 0 to 3)"),
        (-1, 14, True, "no level -1 with the 16K granule (it has levels 0 to 3)"),
        (0, 16, True, "no level 0 with the 64K granule (it has levels 1 to 3)"),
        (4, 12, False, "no level 4 with the 4K granule"),
        (3, 13, False, "no granule of 2**13 bytes"),
    ],
)
def test_levels_that_are_not(level: int, granule: int, wide: bool, said: str) -> None:
    for function in (describe, summary):
        with pytest.raises(MmuError) as error:
            function(0, level, granule=granule, wide=wide)
        assert said in str(error.value)


@pytest.mark.parametrize(
    ("value", "level", "granule", "address"),
    [
        # Bits 51:50 of the address are in bits 9:8 (DS); bits 51:48 in 15:12 (64 KiB).
        (0x0003_0000_4020_1303, 3, 12, 0xF_0000_4020_1000),
        (0x0003_0000_4020_4303, 3, 14, 0xF_0000_4020_4000),
        (0x0000_0000_4020_F703, 3, 16, 0xF_0000_4020_0000),
        (0x0000_0000_2000_5701, 2, 16, 0x5_0000_2000_0000),
        (0x0003_0000_4020_1303, 2, 12, 0xF_0000_4020_1000),
    ],
)
def test_52_bit_addresses(value: int, level: int, granule: int, address: int) -> None:
    fields = describe(value, level, granule=granule, wide=True)
    assert any(f"{address:#x}" in field.meaning for field in fields)
    assert f"{address:#x}" in summary(value, level, granule=granule, wide=True)
    names = {field.name for field in fields}
    assert names & {"OA[49:12]", "OA[49:14]", "OA[47:16]", "OA[47:29]", "NLTA[49:12]"}
    assert ("SH" in names) is (granule == 16)


@pytest.mark.parametrize(
    ("granule", "level", "said"),
    [
        (12, 3, "one of 16 entries that map 64K from 0x40000000"),
        (12, 2, "one of 16 entries that map 32M from 0x40000000"),
        (12, 1, "one of 16 entries that map 16G from 0x0"),
        (14, 3, "one of 128 entries that map 2M from 0x40000000"),
        (14, 2, "one of 32 entries that map 1G from 0x40000000"),
        (16, 3, "one of 32 entries that map 2M from 0x40000000"),
        (16, 2, "one of 32 entries that map 16G from 0x0"),
    ],
)
def test_contiguous_runs(granule: int, level: int, said: str) -> None:
    """Table D8-104 of the manual."""
    value = 0x4000_0000 | bits.CONTIGUOUS | (bits.LEAF if level == 3 else bits.VALID)
    assert meanings(value, level, granule=granule)["contiguous"].startswith(said)
    assert meanings(value & ~bits.CONTIGUOUS, level, granule=granule)["contiguous"] == "stands alone"


def test_fields_of_a_block_and_of_a_table_stand_where_the_manual_says() -> None:
    """Tables D8-50 and D8-52."""
    block = [(field.name, field.bits) for field in describe(bits.VALID, 2)][:-2]
    assert block[5:] == [
        ("software", "55"),
        ("UXN", "54"),
        ("PXN", "53"),
        ("contiguous", "52"),
        ("DBM", "51"),
        ("GP", "50"),
        ("OA[47:21]", "47:21"),
        ("nT", "16"),
        ("nG", "11"),
        ("AF", "10"),
        ("SH", "9:8"),
        ("AP[2:1]", "7:6"),
        ("NS", "5"),
        ("AttrIndx", "4:2"),
        ("type", "1:0"),
    ]
    table = [(field.name, field.bits) for field in describe(bits.LEAF, 2) if field.name != "ignored"]
    assert table == [
        ("NSTable", "63"),
        ("APTable", "62:61"),
        ("UXNTable", "60"),
        ("PXNTable", "59"),
        ("NLTA[47:12]", "47:12"),
        ("AF", "10"),
        ("type", "1:0"),
    ]


@pytest.mark.parametrize(
    ("flag", "name", "clear", "set_"),
    [
        (bits.NG, "nG", "global", "not global"),
        (bits.AF, "AF", "the next access faults", "accessed"),
        (bits.UXN, "UXN", "EL0 may execute", "EL0 may not execute"),
        (bits.PXN, "PXN", "EL1 may execute", "EL1 may not execute"),
        (bits.GUARDED, "GP", "branches may land anywhere", "branches land on BTI only"),
        (bits.DBM, "DBM", "hardware leaves AP[2] alone", "writable and dirty"),
    ],
)
def test_flags_mean_what_they_are(flag: int, name: str, clear: str, set_: str) -> None:
    assert meanings(bits.LEAF, 3)[name].startswith(clear)
    assert meanings(bits.LEAF | flag, 3)[name].startswith(set_)


def test_there_are_no_runs_of_the_largest_blocks() -> None:
    found = meanings(bits.VALID | bits.CONTIGUOUS, 0, wide=True)
    assert found["contiguous"].startswith("reserved")


@pytest.mark.parametrize(
    ("flags", "el0", "el1"),
    [
        # Table D8-65 with WXN 0: UXN, PXN and AP[2:1].
        (0, "--x", "rwx"),
        (bits.AP_EL0, "rwx", "rw-"),
        (bits.AP_READ_ONLY, "--x", "r-x"),
        (bits.AP_EL0 | bits.AP_READ_ONLY, "r-x", "r-x"),
        (bits.PXN, "--x", "rw-"),
        (bits.PXN | bits.AP_EL0, "rwx", "rw-"),
        (bits.PXN | bits.AP_READ_ONLY, "--x", "r--"),
        (bits.PXN | bits.AP_EL0 | bits.AP_READ_ONLY, "r-x", "r--"),
        (bits.UXN, "---", "rwx"),
        (bits.UXN | bits.AP_EL0, "rw-", "rw-"),
        (bits.UXN | bits.AP_READ_ONLY, "---", "r-x"),
        (bits.UXN | bits.AP_EL0 | bits.AP_READ_ONLY, "r--", "r-x"),
        (bits.UXN | bits.PXN, "---", "rw-"),
        (bits.UXN | bits.PXN | bits.AP_EL0, "rw-", "rw-"),
        (bits.UXN | bits.PXN | bits.AP_READ_ONLY, "---", "r--"),
        (bits.UXN | bits.PXN | bits.AP_EL0 | bits.AP_READ_ONLY, "r--", "r--"),
    ],
)
def test_permissions(flags: int, el0: str, el1: str) -> None:
    found = meanings(PAGE | flags, 3)
    assert (found["EL0"].partition(":")[0], found["EL1"].partition(":")[0]) == (el0, el1)
    assert f"EL0 {el0}, EL1 {el1}" in summary(PAGE | flags, 3)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (0, ["Access Flag 0"]),
        (bits.AF, ["accessed"]),
        (bits.AF | bits.SOFTWARE_DIRTY, ["accessed", "dirty"]),
        (bits.AF | bits.DBM, ["accessed", "dirty"]),
        (bits.AF | bits.DBM | bits.AP_READ_ONLY, ["accessed", "clean, though writable"]),
    ],
)
def test_access_and_dirty_state(flags: int, words: list[str]) -> None:
    assert summary(bits.LEAF | flags, 3).split("; ")[1:] == words


def test_software_bits_have_their_names() -> None:
    software = [field for field in describe(PAGE, 3) if field.name == "software"]
    assert [field.bits for field in software] == ["63", "58", "57", "56", "55"]
    assert "dirty" in software[-1].meaning
    assert "special" in software[-2].meaning


@pytest.mark.parametrize(
    ("attr", "text"),
    [
        (0x00, "Device-nGnRnE"),
        (0x0C, "Device-GRE"),
        (0x01, "Device-nGnRnE XS=0"),
        (0x02, "unpredictable"),
        (0x44, "Normal NC"),
        (0x40, "Normal NC XS=0"),
        (0xA0, "Normal WT XS=0"),
        (0xBB, "Normal WT"),
        (0xF0, "Normal WB tagged"),
        (0xFF, "Normal WB"),
        (0x4F, "Normal inner WB, outer NC"),
        (0x77, "Normal WB transient"),
        (0x50, "unpredictable"),
    ],
)
def test_memory_types(attr: int, text: str) -> None:
    assert memory_type(attr) == text
    assert meanings(PAGE | 5 << bits.ATTR_INDX_SHIFT, 3, mair=attr << 40)["AttrIndx"].endswith(f": {text}")


def test_bits_of_a_block_below_its_address_are_told() -> None:
    strays = [field for field in describe(0x4020_1701, 2) if field.name == "RES0"]
    assert [(field.bits, field.value) for field in strays] == [("12", 1)]


@given(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from(
        [(level, granule, wide) for granule in (12, 14, 16) for wide in (False, True) for level in (1, 2, 3)]
        + [(0, 12, False), (0, 12, True), (-1, 12, True), (0, 14, False)]
    ),
    st.none() | st.integers(0, (1 << 64) - 1),
)
def test_every_bit_is_in_one_field(value: int, shape: tuple[int, int, bool], mair: int | None) -> None:
    level, granule, wide = shape
    rebuilt = 0
    for field in describe(value, level, granule=granule, wide=wide, mair=mair):
        if "," not in field.bits:  # what EL0 and EL1 may do follows from others
            shifted = field.value << int(field.bits.rpartition(":")[2])
            assert not rebuilt & shifted
            rebuilt |= shifted
    assert rebuilt == value
    assert summary(value, level, granule=granule, wide=wide, mair=mair)
