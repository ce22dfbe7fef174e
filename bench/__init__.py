"""Benchmarks: each a module that runs by itself."""
