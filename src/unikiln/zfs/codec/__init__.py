"""Checksums and compressions: bytes in, bytes out; one table each."""
