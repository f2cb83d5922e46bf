"""What commands have in common: options, the store that they mean, and being asked first."""

from __future__ import annotations

import functools
import math
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from usher_pipeline.cli.output import Outcome, harmless, put
from usher_pipeline.durations import seconds_of
from usher_pipeline.errors import MissingStoreError, UsherError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from click.shell_completion import CompletionItem

    from usher_pipeline.persistence.local import LocalBackend

__all__ = [
    "answering",
    "as_age",
    "as_size",
    "backend_at",
    "confirmed",
    "dry_run_option",
    "in_store",
    "key_option",
    "known_keys",
    "name_argument",
    "names_argument",
    "store_option",
    "yes_option",
]


# --- printing and debugging -------------------------------------------------------------


def answering(function: Callable[..., Outcome]) -> Callable[..., None]:
    """Make a function that returns an outcome one that prints it and ends with its code.

    The command gets the options ``--json`` and ``--debug``.

    Args:
        function: The function.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
    @click.option(
        "--debug", is_flag=True, expose_value=False, help="Show where an error was raised."
    )
    @functools.wraps(function)
    def answered(*, as_json: bool, **given: Any) -> None:
        outcome = function(**given)
        context = click.get_current_context()
        put(outcome, context.info_name or "", as_json=as_json)
        context.exit(outcome.code)

    return answered


# --- which store ------------------------------------------------------------------------

store_option: Final = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=None,
    help="The DuckDB file of the store; what is in force unless given.",
)


def backend_at(store: Path | None) -> LocalBackend:
    """Return the store that a command means, which has to be there.

    Args:
        store: What ``--store`` says; what is in force if None.

    Raises:
        MissingStoreError: There is none; nothing is created.
    """
    from usher_pipeline.persistence.local import resolved
    from usher_pipeline.runs import current_run

    run = current_run()
    backend = run.backend if store is None else run.backend_at(resolved(store))
    if not backend.path.exists() and not backend.segments.folder.exists():
        named_by, cure = "--store", "Give --store the path of a store."
        if store is None:
            named_by, cure = run.store.origin, "`usher where` says how the store is found."
        raise MissingStoreError(backend.path, named_by, cure)
    return backend


@contextmanager
def in_store(store: Path | None) -> Iterator[None]:
    """Let a store be in force in the block, for functions that take what is in force.

    Args:
        store: What ``--store`` says; nothing changes if None.
    """
    if store is None:
        yield
        return
    from usher_pipeline.runs import run

    with run(store=store):
        yield


# --- names ------------------------------------------------------------------------------


def _known_names(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of the store that begin as what was typed, for shells."""
    from click.shell_completion import CompletionItem

    from usher_pipeline.persistence.contents import names

    try:
        found = names(backend_at(context.params.get("store")))
    except (UsherError, OSError):
        # A shell that completes has no place for an error.
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def known_keys(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the keys of a name that begin as what was typed, newest first, for shells."""
    from click.shell_completion import CompletionItem

    from usher_pipeline import display

    # Behind `--key`, which has no value yet, click has not told the arguments apart.
    name = context.params.get("name") or next(iter(context.args), None)
    try:
        entries = backend_at(context.params.get("store")).segments.recent(name) if name else []
    except (UsherError, OSError):
        return []
    fitting = [entry for entry in entries if entry.key.digest.startswith(incomplete)]
    return [
        CompletionItem(e.key.digest, help=f"{e.row_count:,} rows, {display.age(e.created_at)}")
        for e in fitting
    ]


name_argument: Final = click.argument("name", shell_complete=_known_names)
names_argument: Final = click.argument("names", nargs=-1, shell_complete=_known_names)
key_option: Final = click.option(
    "--key",
    default="",
    shell_complete=known_keys,
    metavar="DIGEST",
    help="The key of one result, or its beginning; the current one unless given.",
)


# --- being asked first ------------------------------------------------------------------

yes_option: Final = click.option("--yes", "-y", is_flag=True, help="Do not ask first.")
dry_run_option: Final = click.option(
    "--dry-run", is_flag=True, help="Only say what would be done."
)


def confirmed(lines: Sequence[str], question: str, *, yes: bool) -> None:
    """Ask whether to go on, unless that was said; end the command if not.

    Args:
        lines: What there is to know before the answer.
        question: The question.
        yes: Whether it was said.

    Raises:
        UsherError: The answer is no, or nobody is there to give one.
    """
    if yes:
        return
    for line in lines:
        click.echo(line, err=True)
    try:
        is_wanted = click.confirm(harmless(question), err=True)
    except click.Abort as nobody:
        if isinstance(nobody.__context__, KeyboardInterrupt):
            raise
        # What was asked has no end of its line yet.
        click.echo(err=True)
        raise UsherError(
            "Nobody answered the question. Nothing was done. Give --yes where nobody can be "
            "asked."
        ) from nobody
    if not is_wanted:
        raise UsherError("The answer was no. Nothing was done.")


# --- quantities -------------------------------------------------------------------------


def as_age(
    context: click.Context, option: click.Parameter, stated: str | None
) -> timedelta | None:
    """Return the duration that an option states, such as ``30d``; what click calls back."""
    from datetime import timedelta

    try:
        return None if stated is None else timedelta(seconds=seconds_of(stated))
    except (ValueError, OverflowError) as problem:
        expected = f"expected a time such as 12h, 30d or 2w, {problem}"
        raise click.BadParameter(expected, context, option) from None


_UNIT_BYTES: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE: Final = re.compile(r"\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]*)\s*")


def as_size(context: click.Context, option: click.Parameter, stated: str | None) -> int | None:
    """Return the size that an option states, such as ``20GB``, in bytes; units are SI."""
    if stated is None:
        return None
    found = _SIZE.fullmatch(stated)
    unit_bytes = _UNIT_BYTES.get(found["unit"].upper()) if found else None
    size_bytes = float(found["number"]) * unit_bytes if found and unit_bytes else math.inf
    if not math.isfinite(size_bytes):
        expected = f"expected a size such as 500MB or 20GB, got {stated!r}"
        raise click.BadParameter(expected, context, option)
    return round(size_bytes)
