"""``unikiln cpio``: verbs about newc archives; each is module ``cpio_<verb>``, loaded when it runs."""

from __future__ import annotations

from unikiln.cli.verbs import VERBS, Group, Verb

_VERBS = (
    ("create", "Make an archive of directories, manifests and tar archives."),
    ("list", "List what is in an archive."),
    ("extract", "Expand an archive into a folder, whole or not at all."),
)

GROUP = Group(
    name="unikiln cpio",
    help=VERBS["cpio"].help,
    verbs={name: Verb(name, text, prefix="cpio_") for name, text in _VERBS},
)
