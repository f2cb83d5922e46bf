"""The commands of ``usher``, each loaded when it is called, and how all of them end."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from usher_pipeline._version import __version__
from usher_pipeline.cli.endings import DONE, FAILED, INTERRUPTED, Trouble, trouble_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "usher"]

_COMPLETE: Final = "_USHER_COMPLETE"

#: Command → the module of this folder that has it, and its name there.
_HOMES: Final = {
    "demo": ("demonstration", "demonstrate"),
    "list": ("looking", "list_names"),
    "show": ("looking", "show"),
    "where": ("looking", "where"),
    "diff": ("differing", "diff"),
    "load": ("outgoing", "load"),
    "export": ("outgoing", "export_results"),
    "sql": ("outgoing", "sql"),
    "push": ("sharing", "push"),
    "pull": ("sharing", "pull"),
    "warm": ("modules", "warm"),
    "outdated": ("modules", "outdated"),
    "accept": ("upkeep", "accept"),
    "forget": ("upkeep", "forget"),
    "pin": ("upkeep", "pin"),
    "unpin": ("upkeep", "unpin"),
    "prune": ("upkeep", "prune"),
    "compact": ("upkeep", "compact"),
    "verify": ("upkeep", "verify"),
    "doctor": ("checkup", "doctor"),
    "completion": ("completing", "completion"),
}


class _Commands(click.Group):
    """Commands that are loaded when they are called, with errors in one line and a hint."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        """Return the commands, in the order in which they are explained."""
        return list(_HOMES)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - as click has it
        cmd_name: str,
    ) -> click.Command | None:
        """Return a command, loaded if need be."""
        if cmd_name not in _HOMES:
            return None
        module, name = _HOMES[cmd_name]
        found = getattr(import_module(f"{__package__}.{module}"), name)
        assert isinstance(found, click.Command)  # noqa: S101 - a row of the table is one
        return found

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - as click has it
        **extra: Any,
    ) -> Any:
        """Run a command to its end; an error is one line and a hint, no traceback."""
        arguments = list(sys.argv[1:] if args is None else args)
        found = (arguments, prog_name or "usher", complete_var or _COMPLETE)
        if not standalone_mode:
            return super().main(*found, standalone_mode=False, **extra)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A name that a terminal has no letters for is no reason to fail.
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(*found, standalone_mode=False, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read has enough; what is flushed at the end must not complain again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = FAILED
        except Exception as problem:  # noqa: BLE001 - the end of the line, for any of them
            _end(problem, arguments)
        sys.exit(code if isinstance(code, int) else DONE)


def _end(problem: Exception, arguments: Sequence[str]) -> NoReturn:
    """Say what went wrong, and end with its code."""
    if "--debug" in arguments:
        traceback.print_exception(problem)
    from usher_pipeline.cli.output import harmless

    trouble = _trouble_of(problem)
    if "--json" in arguments:
        click.echo(json.dumps(trouble.to_json()), err=True)
    else:
        click.echo(harmless(f"usher: {trouble.problem}"), err=True)
        if trouble.hint:
            click.echo(harmless(f"hint: {trouble.hint}"), err=True)
    sys.exit(trouble.code)


def _trouble_of(problem: Exception) -> Trouble:
    if isinstance(problem, click.Abort):
        # What is under way is undone or finished by whoever opens the store next.
        return Trouble("stopped by Ctrl-C.", "", INTERRUPTED, "KeyboardInterrupt")
    if isinstance(problem, click.UsageError):
        path = problem.ctx.command_path if problem.ctx is not None else "usher"
        hint = f"`{path} --help` says how it is called."
        return Trouble(problem.format_message(), hint, problem.exit_code, "UsageError")
    if isinstance(problem, click.ClickException):
        kind = type(problem).__name__
        return Trouble(problem.format_message(), "", problem.exit_code, kind)
    return trouble_of(problem)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="usher")
@click.pass_context
def usher(context: click.Context) -> None:
    """Tables that are computed once, and know where they came from.

    Exit codes: 0 done, 1 failed, 2 called in a way that it can not be, 3 what was asked
    for is not stored, 4 a check found something, 130 stopped by Ctrl-C.

    Every command but `completion` takes --json, for programs, and --debug, for the
    traceback of an error.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code.

    Args:
        arguments: What stands behind ``usher``; those of the process unless given.
    """
    usher.main(None if arguments is None else list(arguments))
