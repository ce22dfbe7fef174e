"""How verbs print: JSON, names that came from an image, and summaries."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, is_dataclass
from typing import Any


def printable(text: str) -> str:
    """``text`` with control characters escaped, so that an image cannot drive the terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def name_text(name: bytes) -> str:
    """A name for standard output: escaped on a terminal, its very bytes into a pipe or a file."""
    text = name.decode("utf-8", "surrogateescape")
    return printable(text) if sys.stdout.isatty() else text


def json_name(name: bytes) -> str:
    """A name for JSON: bytes that are no UTF-8 become lone surrogates, as ``os.fsdecode`` makes them."""
    return name.decode("utf-8", "surrogateescape")


def print_json(value: object) -> None:
    """Print one JSON document; records become objects, bytes become text."""
    print(json.dumps(value, indent=2, default=_plain))


def _plain(value: Any) -> object:  # noqa: ANN401
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bytes):
        return json_name(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def warn(message: str) -> None:
    """Tell something on standard error that does not stop the work."""
    print(f"unikiln: {printable(message)}", file=sys.stderr)
