"""Strangers' text made fit for a terminal."""

import click


def plain(text: str, *, limit: int = 200) -> str:
    """``text`` on one line, without control and formatting characters, shortened to ``limit``.

    A name or an error may hold escape sequences or text that changes its direction.
    """
    line = " ".join(text.split())
    shown = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line[: limit + 1]
    )
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 package``, ``2 packages``."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def say(line: str) -> None:
    """One line on standard error, for whoever watches."""
    click.echo(plain(line, limit=500), err=True)
