"""Virtual devices: labels, and how a data virtual address becomes bytes of a block device."""
