"""OSv's read-only file system, ROFS: written without OSv and read without a guest.

Source: OSv's ``scripts/gen-rofs-img.py`` (what writes it) and ``fs/rofs`` (what reads it).
"""
