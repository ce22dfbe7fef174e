"""``unikiln mmu``: verbs about address translation; each is module ``mmu_<verb>``, loaded when it runs."""

from __future__ import annotations

from unikiln.cli.verbs import VERBS, Group, Verb

_VERBS = (("esr", "Explain a syndrome (ESR_EL1)."),)

GROUP = Group(
    name="unikiln mmu",
    help=VERBS["mmu"].help,
    verbs={name: Verb(name, text, prefix="mmu_") for name, text in _VERBS},
)
