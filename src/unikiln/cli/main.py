"""The entry point: finds the verb, loads only that, and turns errors into one line and an exit status.

``unikiln --help`` loads neither typer nor any verb; a verb loads typer, and what it needs when it runs.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

from unikiln.cli.verbs import ROOT, Group, Verb
from unikiln.errors import UnikilnError, UsageError

if TYPE_CHECKING:
    import typer

_USAGE = 2
_INTERRUPTED = 130
_COMPLETE = "_UNIKILN_COMPLETE"
_COMPLETION_FLAGS = ("--install-completion", "--show-completion")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (default: the process's); the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = _take_debug(given)
    _pass_bytes_through()
    try:
        status = _dispatch(given)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        return _quiet_after_broken_pipe()
    except (KeyboardInterrupt, _Interrupted):
        if debug:
            raise
        return _complain("interrupted", _INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _take_debug(arguments: list[str]) -> bool:
    """Remove ``--debug`` from wherever it stands before ``--``; whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [each for each in arguments[:end] if each != "--debug"]
    found = len(kept) < end
    arguments[:end] = kept
    return found


def _pass_bytes_through() -> None:
    """Let names that are no UTF-8 leave as the bytes that they are."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def _dispatch(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    if _COMPLETE in os.environ or first.partition("=")[0] in _COMPLETION_FLAGS:
        return _call(_whole_app(), arguments, ROOT.name)
    if first == "--version":
        from unikiln import __version__

        print(f"unikiln {__version__}")
        return 0
    return run_verb(arguments)


def run_verb(arguments: list[str]) -> int:
    """Run the verb that the first of ``arguments`` names; its exit status. Errors are raised."""
    return _run(ROOT, arguments)


def _run(group: Group, arguments: list[str]) -> int:
    """Run the verb of ``group`` that the first of ``arguments`` names."""
    first = arguments[0] if arguments else "--help"
    if first in ("--help", "-h"):
        print(group.overview(), end="")
        return 0 if arguments else _USAGE
    verb = group.verbs.get(first)
    if verb is None:
        raise UsageError(
            f"no verb {first!r}" if first[:1] != "-" else f"no option {first}", hint=_nearest(first, group)
        )
    if verb.is_group:
        return _run(_load_group(verb), arguments[1:])
    app = _new_app(completion=False)
    _add(app, verb)
    return _call(app, arguments[1:], f"{group.name} {first}")


def _load_group(verb: Verb) -> Group:
    group: Group = import_module(verb.module).GROUP
    return group


def _nearest(word: str, group: Group) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, group.verbs, n=1)
    return f"did you mean {close[0]}?" if close else f"{group.name} --help lists the verbs"


def _new_app(*, completion: bool) -> typer.Typer:
    import typer

    # Help is plain text: rendering it with rich would take longer than most verbs do.
    return typer.Typer(
        name="unikiln",
        add_completion=completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _add(app: typer.Typer, verb: Verb) -> None:
    module = import_module(verb.module)
    function = getattr(module, verb.function)
    parser = getattr(module, "COMMAND", None)
    text = _help_text(function.__doc__)
    app.command(verb.name, cls=parser, help=text, short_help=verb.help)(_interruptible(function))


class _Interrupted(Exception):
    """Ctrl-C, on its way through typer, which would end the process in silence."""


def _interruptible(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def verb(*arguments: object, **options: object) -> None:
        try:
            function(*arguments, **options)
        except KeyboardInterrupt as error:
            raise _Interrupted from error

    return verb


def _help_text(docstring: str | None) -> str:
    """The part of a verb's docstring that is for people: all before the first field."""
    import inspect

    return inspect.cleandoc(docstring or "").partition("\n:")[0].replace("``", "").strip()


def _whole_app() -> typer.Typer:
    """All verbs at once, as completion needs them."""
    app = _new_app(completion=True)
    _add_all(app, ROOT)
    return app


def _add_all(app: typer.Typer, group: Group) -> None:
    for verb in group.verbs.values():
        if verb.is_group:
            inner = _new_app(completion=False)
            _add_all(inner, _load_group(verb))
            app.add_typer(inner, name=verb.name, help=verb.help)
        else:
            _add(app, verb)


def _call(app: typer.Typer, arguments: list[str], name: str) -> int:
    status = app(arguments, prog_name=name, standalone_mode=False)
    return status if isinstance(status, int) else 0


def _explain(error: Exception) -> int:
    """Print one line about ``error``; the exit status that it stands for."""
    if isinstance(error, UnikilnError):
        return _complain(str(error), error.exit_status)
    if hasattr(error, "format_message"):  # typer's usage errors, whose class moved between its versions
        return _complain(_usage_message(error), _USAGE)
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        hint = " (make room and try again)" if error.errno == errno.ENOSPC else ""
        return _complain(f"{where}{error.strerror or error}{hint}", 1)
    kind = type(error).__name__
    return _complain(f"a bug in unikiln: {kind}: {error} (run it again with --debug to see where)", 1)


def _usage_message(error: Any) -> str:  # noqa: ANN401
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "unikiln"
    return f"{error.format_message().rstrip('.')} ({command} --help tells more)"


def _complain(message: str, status: int) -> int:
    from unikiln.cli.output import printable

    print(f"unikiln: {printable(' '.join(message.split()))}", file=sys.stderr)
    return status


def _quiet_after_broken_pipe() -> int:
    """Whoever read our output has seen enough; nothing more can be flushed to it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    return 128 + 13  # as a shell reports a process that SIGPIPE ended
