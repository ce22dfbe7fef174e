"""The files that an OSv kernel unpacks into its ramfs as it boots: written and read without OSv.

Source: OSv's ``scripts/mkbootfs.py`` (writes it) and ``unpack_bootfs`` in ``fs/vfs/main.cc`` (reads it).
"""
