"""``unikiln manifest check``: everything that is wrong, at once."""

from __future__ import annotations

import typer

from unikiln.cli.common import QuietOption
from unikiln.cli.output import warn
from unikiln.cli.source_options import (
    AppendOption,
    ArchOption,
    AtOption,
    BaseOption,
    DefineOption,
    ExcludeOption,
    SkelOption,
    SourcesArgument,
    SourcesCommand,
    source_options,
)
from unikiln.errors import ManifestError

COMMAND = SourcesCommand
"""What parses the command line of this verb."""


def check(
    source: SourcesArgument = None,
    at: AtOption = None,
    define: DefineOption = None,
    append_manifest: AppendOption = None,
    skel: SkelOption = None,
    base: BaseOption = None,
    exclude: ExcludeOption = None,
    arch: ArchOption = None,
    quiet: QuietOption = False,
) -> None:
    """Tell everything that is wrong with manifests: a line each, and exit status 1.

    Looks at every host file that they name, and at what the other options of build would add.
    """
    from unikiln.base.tree import totals
    from unikiln.image.sources import assemble

    options = source_options(
        source, define, append_manifest, skel, base=base, exclude=exclude, arch=arch and arch.value
    )
    try:
        count, size = totals(assemble(options))
    except ManifestError as error:
        for problem in error.problems:
            warn(problem)
        raise typer.Exit(1) from error
    if not quiet:
        from unikiln.base.size import format_size

        print(f"nothing wrong: {count:,} files and directories, {format_size(size)}")
