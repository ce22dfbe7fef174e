"""Encode and decode what is on disk: pure functions and records, no I/O."""
