"""The command lines of OSv's scripts in the words of unikiln: what each of their options becomes.

Pure: arguments in, arguments out. Facts: OSv's ``scripts/upload_manifest.py``, ``imgedit.py``,
``gen-rofs-img.py``, ``mkbootfs.py`` and ``run.py``.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Sequence
from typing import NoReturn

from unikiln.errors import UsageError

_ARCHITECTURES = {"x64": "x86_64"}
_RAW = "-f raw "
"""``imgedit.py`` takes this, for ``qemu-nbd``, in front of the name; formats are told by content here."""
_IMGEDIT_ARGUMENTS = {
    "setargs": "IMAGE ARGUMENTS...",
    "getargs": "IMAGE",
    "setsize": "IMAGE BYTES",
    "setsize_aarch64": "IMAGE BYTES",
    "setpartition": "IMAGE NUMBER START SIZE",
    "getpartition_offset": "IMAGE NUMBER",
}
OFFSET_OF = "getpartition_offset"
"""The one verb of ``imgedit.py`` that no verb of ours answers as it stands."""


class _Parser(argparse.ArgumentParser):
    """Errors as unikiln tells them."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


def upload_manifest(arguments: Sequence[str]) -> list[str]:
    """``upload_manifest.py``: boot, make the pool, send the files."""
    given = _image_options("upload_manifest.py", arguments, depends=True, kernel=True)
    arch = ["--arch", _ARCHITECTURES.get(given.arch, given.arch)] if given.arch else []
    return ["upload", "-o", given.output, "-m", given.manifest, *_common(given), *arch]


def gen_rofs_img(arguments: Sequence[str]) -> list[str]:
    """``gen-rofs-img.py``: a bare ROFS image."""
    given = _image_options("gen-rofs-img.py", arguments)
    return _bare("rofs", given)


def mkbootfs(arguments: Sequence[str]) -> list[str]:
    """``mkbootfs.py``: a bare bootfs, its shared objects stripped."""
    given = _image_options("mkbootfs.py", arguments, depends=True)
    return [*_bare("ramfs", given), "--strip"]


def run(arguments: Sequence[str]) -> list[str]:
    """``run.py``: QEMU, by the same options; its image and what Ctrl-C means are as there if not given."""
    words = ["-k" if word == "--kernel" else word for word in _memory_in_mebibytes(arguments)]
    signals = [] if {"-s", "--with-signals"} & {*words} else ["--pass-signals"]
    return ["run", "--engine", "qemu", *signals, *_default_image(words), *words]


def _memory_in_mebibytes(arguments: Sequence[str]) -> list[str]:
    """A plain number after ``-m`` is in MiB, as QEMU has it."""
    pairs = zip(["", *arguments], arguments, strict=False)
    return [word + "M" if flag in ("-m", "--memsize") and word.isdigit() else word for flag, word in pairs]


def _default_image(words: list[str]) -> list[str]:
    if any(word == "--image" or word.startswith(("-i", "--image=")) for word in words):
        return []
    debug, release = {"-d", "--debug"} & {*words}, {"-r", "--release"} & {*words}
    folder = "debug" if debug else "release" if release else "last"
    return ["-i", f"build/{folder}/{'disk' if _arch(words) == 'aarch64' else 'usr'}.img"]


def _arch(words: list[str]) -> str:
    parser = _Parser(prog="run.py", add_help=False, allow_abbrev=False)
    parser.add_argument("--arch", default=platform.machine())
    given: str = parser.parse_known_args(words)[0].arch
    return given


def imgedit(arguments: Sequence[str]) -> list[str]:
    """``imgedit.py``: its verbs; ``getpartition_offset`` stays as it is."""
    verb, *rest = arguments or [""]
    if verb not in _IMGEDIT_ARGUMENTS:
        raise UsageError(f"imgedit.py: no verb {verb!r}", hint=f"there are: {', '.join(_IMGEDIT_ARGUMENTS)}")
    wanted = _IMGEDIT_ARGUMENTS[verb].split()
    if len(rest) < len(wanted) - wanted[-1].endswith("..."):
        raise UsageError(f"imgedit.py: {verb} takes {' '.join(wanted)}")
    image, rest = rest[0].removeprefix(_RAW), rest[1:]
    if verb == OFFSET_OF:
        return ["disk", OFFSET_OF, image, *rest]
    if verb.startswith("setsize"):
        arch = "aarch64" if verb.endswith("aarch64") else "x86_64"
        return ["disk", "setsize", "--arch", arch, image, *rest]
    return ["disk", verb, image, *rest]


SCRIPTS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "upload_manifest.py": upload_manifest,
    "imgedit.py": imgedit,
    "gen-rofs-img.py": gen_rofs_img,
    "mkbootfs.py": mkbootfs,
    "run.py": run,
}
"""By the name of the script: what translates its arguments into those of ``unikiln``."""


def _image_options(
    name: str, arguments: Sequence[str], *, depends: bool = False, kernel: bool = False
) -> argparse.Namespace:
    parser = _Parser(prog=name, add_help=False, allow_abbrev=False)
    parser.add_argument("-o", dest="output", required=True)
    parser.add_argument("-m", dest="manifest", required=True)
    parser.add_argument("-D", dest="define", action="append", default=[])
    parser.set_defaults(depends=None, kernel=False, arch=None)
    if depends:
        parser.add_argument("-d", dest="depends")
    if kernel:
        parser.add_argument("-k", dest="kernel", action="store_true")
        parser.add_argument("--arch")
    return parser.parse_args(arguments)


def _common(given: argparse.Namespace) -> list[str]:
    """What all of them take; host paths are relative to the current folder, as theirs are."""
    defines = [word for each in given.define for word in ("-D", each)]
    depends = ["-d", given.depends] if given.depends else []
    return ["--base", ".", *defines, *depends]


def _bare(fs: str, given: argparse.Namespace) -> list[str]:
    what = ["--fs", fs, "--layout", "bare", "--format", "raw", "--quiet"]
    return ["build", given.manifest, "-o", given.output, *what, *_common(given)]
