"""AArch64: the VMSAv8-64 translation system, stage 1 of the EL1&0 regime."""
