"""``unikiln manifest``: verbs about manifests; each is module ``manifest_<verb>``, loaded when it runs."""

from __future__ import annotations

from unikiln.cli.verbs import VERBS, Group, Verb

_VERBS = (
    ("check", "Tell everything that is wrong with manifests, or that they would do."),
    ("show", "List what would go into an image, and where it comes from."),
    ("from-host", "Print a manifest of programs and the shared objects that they need."),
)

GROUP = Group(
    name="unikiln manifest",
    help=VERBS["manifest"].help,
    verbs={name: Verb(name, text, prefix="manifest_") for name, text in _VERBS},
)
