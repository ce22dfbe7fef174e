"""What verbs there are: a table that ``--help`` can print without loading any of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: the function of its own name in the module of its own name in this package."""

    name: str
    help: str


VERBS = {
    verb.name: verb
    for verb in (
        Verb("build", "Make a disk image with a ZFS pool from a directory or a manifest."),
        Verb("run", "Run an AArch64 program from an image on the embedded machine."),
        Verb("ls", "List a directory of an image."),
        Verb("tree", "Show an image's files as a tree."),
        Verb("cat", "Write files of an image to standard output."),
        Verb("stat", "Show everything about files of an image."),
        Verb("extract", "Copy files out of an image."),
        Verb("info", "Show partitions, labels, devices, datasets and space of an image."),
        Verb("verify", "Read every block, check every checksum and the space maps."),
    )
}


def overview() -> str:
    """The text of ``unikiln --help``."""
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb.name:{width}}  {verb.help}" for verb in VERBS.values())
    return (
        "Usage: unikiln [OPTIONS] VERB [ARGUMENTS]...\n\n"
        "Build, run and inspect ZFS-backed images for unikernels and small virtual machines.\n\n"
        f"Verbs (unikiln VERB --help tells more):\n{lines}\n\n"
        "Options:\n"
        "  --version             Print the version.\n"
        "  --debug               Show a traceback when something goes wrong.\n"
        "  --install-completion  Install completion for the current shell.\n"
        "  --show-completion     Print completion for the current shell, to copy it.\n"
        "  --help                Print this text.\n"
    )
