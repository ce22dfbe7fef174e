"""Consumers of tracepoints and statistics."""
