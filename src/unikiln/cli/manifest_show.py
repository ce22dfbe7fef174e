"""``unikiln manifest show``: the tree that sources become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unikiln.cli.common import JsonOption
from unikiln.cli.listing import aligned, long_line, record
from unikiln.cli.output import json_name, name_text, print_json, warn
from unikiln.cli.source_options import (
    AppendOption,
    ArchOption,
    AtOption,
    BaseOption,
    DefineOption,
    ExcludeOption,
    ModeOption,
    MtimeOption,
    OwnerOption,
    SkelOption,
    SourcesArgument,
    SourcesCommand,
    StripOption,
    source_options,
)

if TYPE_CHECKING:
    from unikiln.image.export import TreeInode

COMMAND = SourcesCommand
"""What parses the command line of this verb."""


def show(
    source: SourcesArgument = None,
    at: AtOption = None,
    define: DefineOption = None,
    append_manifest: AppendOption = None,
    skel: SkelOption = None,
    base: BaseOption = None,
    strip: StripOption = False,
    owner: OwnerOption = None,
    mode: ModeOption = None,
    mtime: MtimeOption = None,
    exclude: ExcludeOption = None,
    arch: ArchOption = None,
    json: JsonOption = False,
) -> None:
    """List what would go into an image: every path, what it would be, and the host file it comes from."""
    from unikiln.base.tree import walk
    from unikiln.image.export import TreeFileSystem
    from unikiln.image.sources import assemble

    root = assemble(
        source_options(
            source, define, append_manifest, skel, base=base, strip=strip, owner=owner, mode=mode,
            mtime=mtime, exclude=exclude, arch=arch and arch.value, warn=warn,
        )
    )  # fmt: skip
    files = TreeFileSystem(root)
    found = [(path, files.inode(files.number(node))) for path, node in walk(root)]
    if json:
        print_json([_record(path, inode) for path, inode in found])
        return
    for line in aligned([_line(path, inode) for path, inode in found]):
        print(line)


def _line(path: bytes, inode: TreeInode) -> tuple[str, ...]:
    *columns, shown = long_line(path, inode)
    host = inode.host
    return (*columns, shown + (f" <- {name_text(host)}" if host else ""))


def _record(path: bytes, inode: TreeInode) -> dict[str, object]:
    described = record(path, inode)
    described = {"path": described.pop("name")} | described
    del described["object"]
    if inode.host:
        described["source"] = json_name(inode.host)
    return described
