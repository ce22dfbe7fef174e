"""What verbs there are: tables that ``--help`` can print without loading any of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: the function of its own name in the module of its own name in this package.

    ``prefix`` stands before the module's name; dashes are underscores in both. Of a group of verbs the
    module has not a function but a :class:`Group`, named ``GROUP``.
    """

    name: str
    help: str
    prefix: str = ""
    is_group: bool = False

    @property
    def function(self) -> str:
        """The function that runs it."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """The module that has the function, or the group."""
        return f"unikiln.cli.{self.prefix}{self.function}"


@dataclass(frozen=True, slots=True)
class Group:
    """Verbs that share the words ``name`` in front; ``options`` are lines of its help."""

    name: str
    help: str
    verbs: dict[str, Verb]
    options: str = "  --help  Print this text.\n"

    def overview(self) -> str:
        """The text of ``--help``."""
        width = max(map(len, self.verbs))
        lines = "\n".join(f"  {verb.name:{width}}  {verb.help}" for verb in self.verbs.values())
        return (
            f"Usage: {self.name} [OPTIONS] VERB [ARGUMENTS]...\n\n{self.help}\n\n"
            f"Verbs ({self.name} VERB --help tells more):\n{lines}\n\n"
            f"Options:\n{self.options}"
        )


VERBS = {
    verb.name: verb
    for verb in (
        Verb("build", "Make a disk image with a ZFS pool from a directory or a manifest."),
        Verb("run", "Run a program from an image, on the embedded machine or under QEMU."),
        Verb("test", "Run every program of a folder in an image, and report as a test runner does."),
        Verb("ls", "List a directory of an image."),
        Verb("tree", "Show an image's files as a tree."),
        Verb("cat", "Write files of an image to standard output."),
        Verb("stat", "Show everything about files of an image."),
        Verb("extract", "Copy files out of an image."),
        Verb("info", "Show partitions, labels, devices, datasets and space of an image."),
        Verb("verify", "Read every block, check every checksum and the space maps."),
        Verb("diff", "Compare two images, folders or archives, file by file."),
        Verb("upload", "Fill an image as OSv's scripts do: a guest receives the files."),
        Verb("cpiod", "Receive cpio archives over TCP, into a folder or an image."),
        Verb("compat", "Stand in for a script of OSv's, with its very arguments."),
        Verb("manifest", "Check, show and make manifests.", is_group=True),
        Verb("cpio", "Make, list and expand newc cpio archives.", is_group=True),
        Verb("disk", "Change the command line or partitions of an image in place.", is_group=True),
        Verb("mmu", "Decode syndromes and page-table entries; look at a guest's tables.", is_group=True),
    )
}

ROOT = Group(
    name="unikiln",
    help="Build, run and inspect ZFS-backed images for unikernels and small virtual machines.",
    verbs=VERBS,
    options=(
        "  --version             Print the version.\n"
        "  --debug               Show a traceback when something goes wrong.\n"
        "  --install-completion  Install completion for the current shell.\n"
        "  --show-completion     Print completion for the current shell, to copy it.\n"
        "  --help                Print this text.\n"
    ),
)
