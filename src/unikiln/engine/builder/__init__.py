"""The guest that makes a pool and fills it: OSv under QEMU, or a machine of ours with programs built in."""
