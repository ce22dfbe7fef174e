"""``unikiln disk``: the verbs that change a few bytes of an image, and that tell its partitions."""

from __future__ import annotations

from unikiln.cli.verbs import Group, Verb

GROUP = Group(
    name="unikiln disk",
    help="Change the command line, kernel size or partitions of an image, in place; raw and qcow2.",
    verbs={
        verb.name: verb
        for verb in (
            Verb("setargs", "Store a command line at byte 512.", prefix="disk_"),
            Verb("getargs", "Print the stored command line.", prefix="disk_"),
            Verb("setsize", "Store the kernel's size for its boot loader.", prefix="disk_"),
            Verb("setpartition", "Set one of the four partitions of the MBR.", prefix="disk_"),
            Verb("partitions", "List the partitions, MBR or GPT.", prefix="disk_"),
        )
    },
)
