"""Virtual devices: a DVA to bytes and back."""
