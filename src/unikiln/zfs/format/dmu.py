"""Object types of the DMU: what a block or a bonus buffer holds (``dmu_object_type_t``, sys/dmu.h)."""

from __future__ import annotations

from enum import IntEnum


class ObjectType(IntEnum):
    """``DMU_OT_*``; the numbers are on disk."""

    NONE = 0
    OBJECT_DIRECTORY = 1
    OBJECT_ARRAY = 2
    PACKED_NVLIST = 3
    PACKED_NVLIST_SIZE = 4
    BPOBJ = 5
    BPOBJ_HDR = 6
    SPACE_MAP_HEADER = 7
    SPACE_MAP = 8
    INTENT_LOG = 9
    DNODE = 10
    OBJSET = 11
    DSL_DIR = 12
    DSL_DIR_CHILD_MAP = 13
    DSL_DS_SNAP_MAP = 14
    DSL_PROPS = 15
    DSL_DATASET = 16
    ZNODE = 17
    OLDACL = 18
    PLAIN_FILE_CONTENTS = 19
    DIRECTORY_CONTENTS = 20
    MASTER_NODE = 21
    UNLINKED_SET = 22
    ZVOL = 23
    ZVOL_PROP = 24
    PLAIN_OTHER = 25
    UINT64_OTHER = 26
    ZAP_OTHER = 27
    ERROR_LOG = 28
    SPA_HISTORY = 29
    SPA_HISTORY_OFFSETS = 30
    POOL_PROPS = 31
    DSL_PERMS = 32
    ACL = 33
    SYSACL = 34
    FUID = 35
    FUID_SIZE = 36
    NEXT_CLONES = 37
    SCAN_QUEUE = 38
    USERGROUP_USED = 39
    USERGROUP_QUOTA = 40
    USERREFS = 41
    DDT_ZAP = 42
    DDT_STATS = 43
    SA = 44
    SA_MASTER_NODE = 45
    SA_ATTR_REGISTRATION = 46
    SA_ATTR_LAYOUTS = 47
    SCAN_XLATE = 48
    DEDUP = 49
    DEADLIST = 50
    DEADLIST_HDR = 51
    DSL_CLONES = 52
    BPOBJ_SUBOBJ = 53


NEWTYPE = 0x80
"""Set in types that state their own nature (``DMU_OT_NEWTYPE``)."""
NEWTYPE_METADATA = 0x40
NEWTYPE_ENCRYPTED = 0x20
ZAP_METADATA = NEWTYPE | NEWTYPE_METADATA | 4
"""``DMU_OTN_ZAP_METADATA``: ZAPs of features."""

FILE_DATA = frozenset(
    {ObjectType.PLAIN_FILE_CONTENTS, ObjectType.ZVOL, ObjectType.PLAIN_OTHER, ObjectType.UINT64_OTHER}
)

_ENCRYPTED = frozenset(
    {
        ObjectType.INTENT_LOG, ObjectType.DNODE, ObjectType.OLDACL, ObjectType.PLAIN_FILE_CONTENTS,
        ObjectType.DIRECTORY_CONTENTS, ObjectType.UNLINKED_SET, ObjectType.ZVOL, ObjectType.PLAIN_OTHER,
        ObjectType.UINT64_OTHER, ObjectType.ACL, ObjectType.SYSACL, ObjectType.FUID,
        ObjectType.USERGROUP_USED, ObjectType.USERGROUP_QUOTA, ObjectType.SA, ObjectType.SA_MASTER_NODE,
        ObjectType.SA_ATTR_REGISTRATION, ObjectType.SA_ATTR_LAYOUTS, ObjectType.DEDUP,
    }
)  # fmt: skip


def is_encrypted(kind: int) -> bool:
    """Whether an encrypted dataset encrypts blocks and bonus buffers of this type (``DMU_OT_IS_ENCRYPTED``).

    All others it only authenticates.
    """
    return bool(kind & NEWTYPE_ENCRYPTED) if kind & NEWTYPE else kind in _ENCRYPTED


def is_metadata(kind: int) -> bool:
    """Whether blocks of this type are metadata at level 0 too (``DMU_OT_IS_METADATA``)."""
    if kind & NEWTYPE:
        return bool(kind & NEWTYPE_METADATA)
    return kind not in FILE_DATA


def type_name(kind: int) -> str:
    """The type's name, or its number when it is none of ours."""
    return ObjectType(kind).name if kind in ObjectType.__members__.values() else f"type {kind:#x}"
