"""QEMU as an engine: its command line, its start, its console and its end.

``options`` says what to run, ``command`` makes the command line of it (both without a QEMU), ``installed``
what the QEMU here can do, ``check`` whether that is enough; ``guest`` starts it and ends it in every case,
``session`` relays its console, and ``outcome`` says how it ended.
"""
