"""The ``lockkeeper`` command. Its modules import at the top only what ``--help`` needs."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path

import click

from backend.cli import (
    account,
    advisories,
    approval,
    audit,
    data,
    doctor,
    evidence,
    explain,
    health,
    legacy,
    policy,
    queues,
    requests,
    roles,
    schedules,
    services,
    splunk,
    tasks,
    up,
    waivers,
)
from backend.cli.errors import EXIT_CODES, FAILED, OK, CommandError, Stopped
from backend.cli.words import say

__all__ = ["main"]


def _version() -> str:
    try:
        return version("lockkeeper")
    except PackageNotFoundError:  # run from a tree that is not installed
        return "unknown"


@click.group(
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)
@click.version_option(_version(), prog_name="lockkeeper")
def cli() -> None:
    """Vet the packages that a lock file asks for.

    `lockkeeper up` starts everything on this machine. What submits, shows or changes something
    speaks to the server in LOCKKEEPER_URL with the token in LOCKKEEPER_TOKEN.
    """


for command in (
    up.up,
    requests.submit,
    requests.status,
    requests.retry,
    approval.waiting,
    approval.approve,
    approval.reject,
    approval.publish,
    approval.recall,
    approval.deny,
    approval.where_used,
    evidence.evidence,
    evidence.why,
    queues.queues,
    queues.workers,
    queues.pause,
    queues.resume,
    queues.requeue,
    queues.cancel,
    explain.explain,
    account.token,
    account.user,
    services.api,
    services.worker,
    services.migrate,
    roles.roles,
    legacy.imports,
    health.health,
    advisories.advisories,
    audit.audit,
    policy.policy,
    waivers.waivers,
    splunk.splunk,
    tasks.tasks,
    schedules.schedules,
    data.data,
    doctor.doctor,
):
    command.epilog = EXIT_CODES
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; answers the exit code. An error is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets question marks
    try:
        answer = cli.main(
            None if arguments is None else list(arguments),
            prog_name="lockkeeper",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - every way to end has its code
        return _ended(error)
    return answer if isinstance(answer, int) else OK


def _ended(error: BaseException) -> int:
    """Say why it ended, where there is something to say; answers the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        _forget_stdout()
        return FAILED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    message, code = _words(error)
    with suppress(OSError):
        say(f"lockkeeper: {message}")
    return code


def _words(error: BaseException) -> tuple[str, int]:
    match error:
        case CommandError():
            return str(error), error.exit_code
        case click.ClickException():
            return error.format_message(), error.exit_code
        case Stopped(number=number):
            return "stopped", 128 + number
        case click.Abort() | KeyboardInterrupt():
            return "stopped", 128 + signal.SIGINT
        case OSError(strerror=str(reason)):
            return f"{error.filename}: {reason}" if error.filename else reason, FAILED
    return f"internal error{_place(error)}: {type(error).__name__}: {error}", FAILED


def _forget_stdout() -> None:
    """Nobody reads it any more; Python would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _place(error: BaseException) -> str:
    """File and line of the innermost frame: what a bug report needs, on the one line there is."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
