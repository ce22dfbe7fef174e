"""``unikiln cpiod``: a service that receives cpio archives into a folder or an image."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unikiln.base.size import format_size
from unikiln.cli.output import name_text, printable, warn
from unikiln.errors import UnikilnError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from unikiln.image.cpio.newc import Header
    from unikiln.image.cpio.reader import Stream
    from unikiln.image.cpio.receive import Received

    Keep = Callable[[Stream], Received]


def cpiod(
    prefix: Annotated[
        str, typer.Option(metavar="DIR|IMAGE:/PATH", help="Where to: a folder, or a path in a new image.")
    ],
    listen: Annotated[
        str, typer.Option(metavar="[HOST:]PORT", help="Default host 127.0.0.1; port 0: any free one.")
    ] = "10000",
    once: Annotated[bool, typer.Option("--once", help="End after the first archive.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Name what arrives.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for a silent sender.")] = 300.0,
) -> None:
    """Receive newc archives over TCP, as OSv's cpiod does, into a folder or a new image.

    An archive is kept whole or not at all: one that breaks off, or lies, leaves everything as it was. No name
    leads out of the folder. An image is made once: it must not be there, and the service ends then.
    Whoever can connect can write: to let other hosts connect, give HOST.
    """
    from unikiln.image.cpiod import Cpiod, parse_listen

    keep = _keeper(prefix, verbose=verbose)
    host, port = parse_listen(listen)
    service = Cpiod(host, port, timeout=timeout or None)
    try:
        while True:
            print(f"Waiting for connection from host on {service.host}:{service.port}...", flush=True)
            if _receive(service.receive, keep, prefix, once=once or ":/" in prefix):
                return
    finally:
        service.close()


def _receive(receive: Callable[[Keep], Received], keep: Keep, prefix: str, *, once: bool) -> bool:
    """Take one archive; whether that was all."""
    started = time.monotonic()
    try:
        received = receive(keep)
    except UnikilnError as error:
        if once:
            raise
        warn(str(error))
        return False
    seconds = time.monotonic() - started
    print(
        f"{prefix}: {received.entries:,} entries, {format_size(received.size)}, {seconds:.2f} s", flush=True
    )
    return once


def _keeper(prefix: str, *, verbose: bool) -> Keep:
    image, separator, path = prefix.rpartition(":/")
    note = _name if verbose else _ignore
    if separator:
        return _into_image(Path(image), path, note)

    def keep(stream: Stream) -> Received:
        from unikiln.image.cpio.deliver import into_folder

        received, failures = into_folder(stream, Path(prefix), note)
        for each in failures:
            warn(f"not made: {each}")
        return received

    return keep


def _into_image(image: Path, path: str, note: Callable[[Header], None]) -> Keep:
    from unikiln.image.cpio.to_image import into_image

    if image.exists():
        raise UsageError(
            f"{image}: is there already", hint="an image is made anew; remove it, or name another"
        )

    def keep(stream: Stream) -> Received:
        return into_image(stream, image, os.fsencode(path), note)

    return keep


def _name(header: Header) -> None:
    print(f"Adding {printable(name_text(header.name))}...", flush=True)


def _ignore(_header: Header) -> None:
    """Nobody wants to know."""
