"""Options that several verbs share as a record, and help that shows long lists of options in groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from functools import wraps
from itertools import groupby
from typing import Any, get_type_hints

import click
import typer
from click.core import ParameterSource
from typer.core import TyperCommand


def option(*names: str, help: str, metavar: str | None = None, group: str | None = None) -> Any:  # noqa: ANN401
    """An option that ``--help`` shows under ``group``."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=group, show_default=False)


def takes(name: str, record: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the options that are the fields of ``record``; it gets them as its argument ``name``."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(verb, eval_str=True)
        hints = get_type_hints(record, include_extras=True)
        shared = [_parameter(field, hints[field.name]) for field in fields(record)]
        own = [parameter for parameter in signature.parameters.values() if parameter.name != name]

        @wraps(verb)
        def with_record(*arguments: object, **options: Any) -> None:  # noqa: ANN401
            given = {parameter.name: options.pop(parameter.name) for parameter in shared}
            verb(*arguments, **options, **{name: record(**given)})

        together = signature.replace(parameters=[*own, *shared])
        with_record.__signature__ = together  # type: ignore[attr-defined]
        with_record.__annotations__ = {key: each.annotation for key, each in together.parameters.items()}
        return with_record

    return decorate


def _parameter(field: Field[Any], hint: object) -> inspect.Parameter:
    assert field.default is not MISSING, field.name
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hint
    )


def given(record: type) -> Iterator[tuple[click.Option, Any]]:
    """Those options of ``record`` that stand on the command line that is being run, and their values."""
    context = click.get_current_context()
    names = {field.name for field in fields(record)}
    for parameter in context.command.params:
        if isinstance(parameter, click.Option) and parameter.name in names:
            source = context.get_parameter_source(parameter.name)
            if source is ParameterSource.COMMANDLINE:
                yield parameter, context.params[parameter.name]


def as_arguments(record: type) -> list[str]:
    """Those options again, as arguments for another verb that has them."""
    return [word for parameter, value in given(record) for word in _words(parameter, value)]


def _words(parameter: click.Option, value: Any) -> list[str]:  # noqa: ANN401
    name = parameter.opts[0]
    if parameter.is_flag:
        return [name] if value else [parameter.secondary_opts[0]]
    values = value if parameter.multiple else [value]
    return [word for each in values for word in (name, str(each))]


class GroupedCommand(TyperCommand):
    """A verb whose options are shown in the groups that they name, the ungrouped first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments and options of ``--help``."""
        entries = [(_group(each), each.get_help_record(ctx)) for each in self.get_params(ctx)]
        order = list(dict.fromkeys(group for group, _ in entries))
        for group, members in groupby(
            sorted(entries, key=lambda entry: order.index(entry[0])), lambda e: e[0]
        ):
            with formatter.section(group):
                formatter.write_dl([record for _, record in members if record is not None])


def _group(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or "Options"
