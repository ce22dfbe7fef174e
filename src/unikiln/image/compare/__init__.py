"""Two trees of files, wherever they are, and in what they differ."""

from __future__ import annotations

from unikiln.image.compare.compare import FIELDS, Difference, compare, shown
from unikiln.image.compare.item import Item, of_filesystem, of_tree

__all__ = ["FIELDS", "Difference", "Item", "compare", "of_filesystem", "of_tree", "shown"]
