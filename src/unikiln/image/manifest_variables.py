"""The values of ``%(name)s`` in a manifest: those that are given, and those that OSv's scripts set.

``libgcc_s_dir`` is where the compiler for the image's architecture has ``libgcc_s.so.1``. OSv's build
before 2020 also set ``gccbase``, ``glibcbase`` and ``miscbase``: folders of ``external/`` in its own sources,
which ``OSV_BASE`` names, as a value or in the environment. Source: OSv's ``scripts/build``.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from unikiln.errors import ManifestError

_VARIABLE = re.compile(rb"%\((\w+)\)s|%%")
_MODULE_VARIABLE = re.compile(rb"\$\{(\w+)\}")
_EXTERNAL = {"gccbase": "gcc.bin", "glibcbase": "glibc.bin", "miscbase": "misc.bin"}
_OSV_ARCH = {"x86_64": "x64"}


class Variables:
    """Looks names up, each once; ``arch`` None is this host's."""

    def __init__(self, defines: Mapping[str, str], arch: str | None = None) -> None:
        self._values = dict(defines)
        self._host = platform.machine()
        self._arch = arch or self._host

    def expand(self, host: bytes) -> bytes:
        """``host`` with ``%(name)s`` replaced, and ``%%`` by a percent sign.

        :raises ManifestError: a name that has no value
        """
        return _VARIABLE.sub(self._replacement, host)

    def expand_module(self, line: bytes, folder: Path) -> bytes:
        """``line`` with ``${name}`` replaced, as OSv does in a module's manifest, which lies in ``folder``.

        :raises ManifestError: a name that has no value
        """
        own = {"MODULE_DIR": os.fspath(folder.absolute())}
        return _MODULE_VARIABLE.sub(lambda match: self._module_value(match[1].decode(), own), line)

    def _replacement(self, match: re.Match[bytes]) -> bytes:
        return os.fsencode(self._value(match[1].decode())) if match[1] else b"%"

    def _module_value(self, name: str, own: Mapping[str, str]) -> bytes:
        value = self._values.get(name) or own.get(name) or os.environ.get(name)
        if value is None:
            raise ManifestError(f"${{{name}}} has no value", hint=f"give one with -D {name}=VALUE")
        return os.fsencode(value)

    def _value(self, name: str) -> str:
        if name not in self._values:
            self._values[name] = self._predefined(name)
        return self._values[name]

    def _predefined(self, name: str) -> str:
        hint = f"give one with -D {name}=VALUE"
        if name == "libgcc_s_dir":
            return self._libgcc_folder(hint)
        base = self._values.get("OSV_BASE") or os.environ.get("OSV_BASE")
        if name in _EXTERNAL and base:
            arch = _OSV_ARCH.get(self._arch, self._arch)
            return os.path.join(os.path.abspath(base), "external", arch, _EXTERNAL[name])  # noqa: PTH100
        raise ManifestError(f"%({name})s has no value", hint=hint)

    def _libgcc_folder(self, hint: str) -> str:
        """Where the compiler has ``libgcc_s.so.1``."""
        compiler = "gcc" if self._arch == self._host else f"{self._arch}-linux-gnu-gcc"
        command = [os.environ.get("CC") or compiler, "-print-file-name=libgcc_s.so.1"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ManifestError(
                f"%(libgcc_s_dir)s has no value, as {command[0]} cannot tell it", hint=hint
            ) from error
        found = Path(done.stdout.strip())
        if not found.is_absolute():  # a compiler that has no such file repeats the name
            raise ManifestError(
                f"%(libgcc_s_dir)s has no value: {command[0]} has no libgcc_s.so.1", hint=hint
            )
        return os.fspath(found.resolve().parent)
