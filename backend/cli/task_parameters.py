"""A task's parameters as options of a command: ``-p NAME=VALUE``, ``--parameters JSON|@FILE``."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from backend.cli.errors import WRONG_USAGE, CommandError
from backend.cli.words import plain

MAX_PARAMETERS: Final = 1024 * 1024  # bytes; the server takes no more

Command = TypeVar("Command", bound=Callable[..., Any])


def parameter_options(command: Command) -> Command:
    """The options ``given`` and ``parameters``, which :func:`parameters_of` reads."""
    each = click.option(
        "-p",
        "given",
        metavar="NAME=VALUE",
        multiple=True,
        help="A parameter: JSON where the value is that, else text. May be given several times.",
    )
    return each(
        click.option(
            "--parameters", metavar="JSON|@FILE", help="All parameters, as one JSON object."
        )(command)
    )


def parameters_of(document: str | None, given: Iterable[str]) -> dict[str, Any]:
    """All that was given; what ``-p`` says counts.

    Raises:
        CommandError, UsageError: it is no JSON object, or not to be read; no NAME=VALUE.
    """
    return {**_document(document), **dict(map(_parameter, given))}


def _parameter(given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not equals:
        raise click.UsageError(f"-p takes NAME=VALUE, not {plain(given)!r}")
    try:
        return name, json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return name, value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _document(given: str | None) -> dict[str, Any]:
    """A JSON object, as it was given or as a file has it."""
    if given is None:
        return {}
    content = _content(Path(given[1:])) if given.startswith("@") else given
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CommandError("--parameters takes a JSON object, or @FILE with one", WRONG_USAGE)
    return document


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_PARAMETERS + 1)
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}", WRONG_USAGE) from None
    if len(content) > MAX_PARAMETERS:
        raise CommandError(f"{file} is larger than {MAX_PARAMETERS >> 20} MiB", WRONG_USAGE)
    return content
