"""Programs and shared objects made by compilers, laid out as in a root directory."""

from __future__ import annotations

from pathlib import Path

from tests import judges

GCC = "aarch64-linux-gnu-gcc"


def library(path: Path, *options: str, soname: str | None = None, compiler: str = GCC) -> Path:
    """A shared object of one function, named after ``path``, with debugging information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    symbol = "".join(each for each in path.name if each.isalnum())
    source = path.parent / f"{path.name}.c"
    source.write_text(f"int {symbol}(void) {{ return 1; }}\n")
    linking = f"-Wl,-soname,{soname or path.name},--no-as-needed"
    judges.run(
        compiler, "-g", "-shared", "-fPIC", "-nostdlib", linking, "-o", path, source, *options
    )  # fmt: skip
    source.unlink()
    return path


def program(path: Path, *options: str, compiler: str = GCC) -> Path:
    """A dynamic program without a C library, with debugging information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.parent / f"{path.name}.c"
    source.write_text("void _start(void) { for (;;); }\n")
    judges.run(
        compiler, "-g", "-nostdlib", "-pie", "-fPIE", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined",
        "-o", path, source, *options,
    )  # fmt: skip
    source.unlink()
    return path
