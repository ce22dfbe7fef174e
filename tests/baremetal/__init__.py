"""Programs of ours that run on QEMU's bare machines, so that QEMU's MMU judges the model."""
