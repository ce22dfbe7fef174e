"""The ZFS on-disk format, read and written without OpenZFS."""
