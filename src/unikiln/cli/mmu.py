"""``unikiln mmu``: verbs about address translation; each is module ``mmu_<verb>``, loaded when it runs."""

from __future__ import annotations

from unikiln.cli.verbs import VERBS, Group, Verb

_VERBS = (
    ("esr", "Explain a syndrome, ESR_EL1: every field, and a sentence."),
    ("par", "Explain PAR_EL1, the result of an AT instruction."),
    ("pte", "Explain a page-table entry, AArch64 or x86-64."),
    ("x86-error", "Explain the error code of an x86-64 page fault."),
    ("walk", "Translate an address in a dump or a live guest, entry by entry."),
    ("map", "Show what a dump or a live guest maps, merged into runs."),
    ("hot", "Show where a live guest touches memory, over time; or what a dump touched."),
)

GROUP = Group(
    name="unikiln mmu",
    help=VERBS["mmu"].help,
    verbs={name: Verb(name, text, prefix="mmu_") for name, text in _VERBS},
)
