"""Files of an image or an archive in messages: by their names in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from unikiln.errors import HostError, ImageError, UnikilnError
from unikiln.image.inside import Names


def shown(names: Names) -> str:
    """The path that ``names`` lead along."""
    return os.fsdecode(b"/" + b"/".join(names))


@contextmanager
def naming(names: Names, source: str = "image", kind: type[ImageError] = ImageError) -> Iterator[None]:
    """Turn a refusal into an error that names the file of ``source``: the host's, or of what is no value."""
    try:
        yield
    except UnikilnError:
        raise
    except OSError as error:
        raise HostError(f"{shown(names)} of the {source}: {error.strerror}") from error
    except (OverflowError, ValueError) as error:
        raise kind(f"{shown(names)} of the {source}: {error}") from error
