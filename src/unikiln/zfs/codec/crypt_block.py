"""One block of an encrypted dataset, as it is on disk, to what its compression made of the data.

Which of four things was done to a block depends on its level and type (sys/spa.h): indirect blocks
hold a checksum of MACs, object sets two MACs of their own; of the rest, some types are encrypted,
others only authenticated.
"""

from __future__ import annotations

import hmac

from unikiln.errors import AuthenticationError
from unikiln.zfs.codec.checksum import Words4
from unikiln.zfs.codec.crypt import MasterKey
from unikiln.zfs.codec.crypt_auth import check_objset, dnode_parts
from unikiln.zfs.codec.crypt_log import decrypt_log_block, splice
from unikiln.zfs.format.blkptr import BlockPointer, Checksum
from unikiln.zfs.format.dmu import ObjectType

_STRONG = frozenset({Checksum.SHA256, Checksum.SHA512, Checksum.SKEIN, Checksum.EDONR, Checksum.BLAKE3})
_READABLE = (ObjectType.DNODE, ObjectType.INTENT_LOG)


def is_readable_without_key(pointer: BlockPointer) -> bool:
    """Whether the block says something to who has no key: all but file data, directories and attributes.

    Of dnodes that is all but their bonus buffers, of a log block what leads to the next.
    """
    return not pointer.is_ciphertext or pointer.type in _READABLE


def open_block(key: MasterKey, pointer: BlockPointer, data: bytes) -> bytes:
    """Decrypt a block of level 0, or check that it is authentic.

    :raises AuthenticationError: it is not what was written
    :raises CorruptError: dnodes or log records that do not fit into it
    """
    if pointer.type == ObjectType.OBJSET:
        check_objset(key, data)
        return data
    if not pointer.is_ciphertext:
        if not hmac.compare_digest(key.authenticate(data), pointer.mac):
            raise AuthenticationError("its message authentication code is not that of its content")
        return data
    if pointer.type == ObjectType.DNODE:
        return _open_dnodes(key, pointer, data)
    if pointer.type == ObjectType.INTENT_LOG:
        return decrypt_log_block(key, pointer, data)
    return key.decrypt(pointer.salt, pointer.iv, pointer.mac, data)


def _open_dnodes(key: MasterKey, pointer: BlockPointer, block: bytes) -> bytes:
    about, spans = dnode_parts(block, key.version)
    sealed = b"".join(block[start:end] for start, end in spans)
    return splice(block, spans, key.decrypt(pointer.salt, pointer.iv, pointer.mac, sealed, about))


def truncated(kind: int, words: Words4) -> tuple[int, int]:
    """The half of a checksum that is left beside a MAC (``zio_checksum_error_impl``, zio_checksum.c).

    Of a weak checksum the other half is folded into it.
    """
    a, b, c, d = words
    return (a, b) if kind in _STRONG else (a ^ c, b ^ d)
