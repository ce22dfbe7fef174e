"""The AArch64 judge: a program for EL2 that puts cases to the EL1&0 regime of QEMU's processors."""
