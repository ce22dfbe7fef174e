"""A manifest of programs and all the shared objects that they need."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from unikiln.image.elfneeds import Loaded, Needs
from unikiln.image.manifest import format_line

_IN_OSV = re.compile(
    r"(ld-linux.*|ld64.*|lib(gcc_s|resolv|c|m|pthread|dl|rt|stdc\+\+|aio|xenstore|crypt|selinux|util|anl))\.so[\d.]*"
)
"""What OSv's kernel has built in, or its base manifest brings. Source: OSv's ``manifest_from_host.sh``."""


def manifest_of(
    programs: Iterable[str], *, root: str = "/", at: str = "/", extra: Iterable[str] = (), osv: bool = False
) -> Iterator[bytes]:
    """The lines of a manifest that puts ``programs`` into the image's directory ``at``, with what they need.

    :param root: the root directory in which shared objects are looked for
    :param extra: more directories to look in
    :param osv: leave out what OSv's kernel brings itself
    :raises ManifestError: shared objects that are nowhere, all of them
    """
    needs = Needs(root, at, extra)
    for program in programs:
        needs.add(program)
    for each in needs.resolve():
        if not (osv and _is_in_osv(each)):
            yield format_line(os.fsencode(each.guest), os.fsencode(each.host))


def _is_in_osv(file: Loaded) -> bool:
    return _IN_OSV.fullmatch(os.path.basename(file.guest)) is not None
