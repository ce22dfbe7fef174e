"""unikiln builds, runs and inspects ZFS-backed images for unikernels and small virtual machines."""

__version__ = "0.1.0"
