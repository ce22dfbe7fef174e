"""Names that mean the same: file systems that ignore case, or that compare names in a Unicode form.

Set once for each file system (``casesensitivity``, ``normalization``); names are stored as they were given
and compared in the form (``zap_normalize``, zap_micro.c; ``zfs_dirent_lock``, zfs_dir.c).
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

Form = Literal["NFD", "NFC", "NFKD", "NFKC"]
_FORMS: Mapping[int, Form] = {0x10: "NFD", 0x50: "NFC", 0x20: "NFKD", 0x60: "NFKC"}
"""``U8_TEXTPREP_*``, as the master node has them under ``normalization``."""
_INSENSITIVE, _MIXED = 1, 2


@dataclass(frozen=True, slots=True)
class NameRule:
    """How a file system compares names: in which Unicode form, if any, and whether case counts."""

    form: Form | None
    folds_case: bool

    @classmethod
    def of(cls, master: Mapping[bytes, int]) -> Self | None:
        """The rule that a master node states; None when names are compared byte by byte."""
        form = _FORMS.get(master.get(b"normalization", 0))
        case = master.get(b"casesensitivity", 0)
        if form is None and case not in (_INSENSITIVE, _MIXED):
            return None
        return cls(form, case == _INSENSITIVE)

    def key(self, name: bytes) -> str:
        """What all names that mean the same as ``name`` have in common."""
        text = os.fsdecode(name)
        if self.form is not None:
            text = unicodedata.normalize(self.form, text)
        return "".join(map(_upper, text)) if self.folds_case else text


def _upper(character: str) -> str:
    """The one upper-case character that stands for it; those that would become several stay."""
    upper = character.upper()
    return upper if len(upper) == 1 else character
