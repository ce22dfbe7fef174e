"""``newc`` cpio archives: what ``upload`` sends, what ``cpiod`` takes, and what Linux boots from.

:mod:`newc` is the format, :mod:`writer` makes an archive of a tree, :mod:`reader` takes one apart as it comes
in; :mod:`receive` gives its files to a folder (:mod:`folder`) or to a tree (:mod:`gather`).
"""
