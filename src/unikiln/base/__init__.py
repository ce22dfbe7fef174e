"""What every layer stands on: block devices, atomic output, sizes, progress, tracepoints."""
