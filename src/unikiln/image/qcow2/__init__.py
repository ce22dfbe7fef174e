"""QEMU's copy-on-write disk images, version 2 and 3: written and read here, without QEMU.

Source: ``docs/interop/qcow2.txt`` of QEMU.
"""

from __future__ import annotations

from unikiln.image.qcow2.editor import Qcow2Editor
from unikiln.image.qcow2.header import MAGIC
from unikiln.image.qcow2.reader import Qcow2Reader
from unikiln.image.qcow2.writer import Qcow2Writer

__all__ = ["MAGIC", "Qcow2Editor", "Qcow2Reader", "Qcow2Writer"]
