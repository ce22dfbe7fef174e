"""What shows a run to a person: tables and records of its counters, tracepoints on standard error."""
