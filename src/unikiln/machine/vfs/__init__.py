"""The virtual file system: nodes, places in the tree, open files, descriptors."""
