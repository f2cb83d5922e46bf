"""The magic command by which the cell of a notebook is a checkpoint.

``%load_ext usher_pipeline`` registers it. The cell becomes a function in the namespace of
the notebook, and the decorator does the rest.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

from IPython.core.error import UsageError

from usher_pipeline import cells
from usher_pipeline.decorator import checkpoint
from usher_pipeline.errors import (
    CellError,
    CodeChangedError,
    FingerprintError,
    UsherError,
    UsherWarning,
)
from usher_pipeline.fingerprint import syntax
from usher_pipeline.fingerprint.binding import LOOK_UP
from usher_pipeline.fingerprint.syntax import texts_within, words_of_queries
from usher_pipeline.frames import adapter_for, is_frame
from usher_pipeline.planning import CodePolicy
from usher_pipeline.records import Bypass, Miss
from usher_pipeline.saying import listening, voice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from IPython.core.interactiveshell import InteractiveShell

    from usher_pipeline.cells import Cell
    from usher_pipeline.decorator import Checkpointed
    from usher_pipeline.records import Decision, Entry

__all__ = ["CellMagic", "load_ipython_extension", "unload_ipython_extension"]

_MAGIC: Final = "checkpoint"
#: How a value that can not be watched is named under a decision.
_VALUE: Final = re.compile(r"^\S+ \([\w.]+\) in ")


#: What a query that is an argument may mark.
_DATA: Final = (str, int, float, list, tuple, dict, set, frozenset)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%%checkpoint``; what ``%load_ext usher_pipeline`` calls.

    Args:
        shell: The IPython that the notebook runs in.
    """
    register: Callable[..., None] = shell.register_magic_function
    register(CellMagic(shell).run, "cell", _MAGIC)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take ``%%checkpoint`` away; what ``%unload_ext usher_pipeline`` calls.

    Args:
        shell: The IPython that the notebook runs in.
    """
    shell.magics_manager.magics["cell"].pop(_MAGIC, None)


class _Parser(argparse.ArgumentParser):
    """The options of the magic command; what does not fit is one line in the notebook."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"%%{_MAGIC}: {message}. Nothing was run. {self.format_usage()}")


def _parser() -> _Parser:
    parser = _Parser(prog=f"%%{_MAGIC}", add_help=False, allow_abbrev=False)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--sources", type=_listed, default=[])
    parser.add_argument("--inputs", type=_listed, default=[])
    parser.add_argument("--output", default="")
    parser.add_argument("--max-age")
    parser.add_argument("--on-code-change", choices=get_args(CodePolicy), default="guard")
    parser.add_argument("--refresh", action="store_true")
    parser.add_argument("--explain", action="store_true")
    return parser


class CellMagic:
    """The magic command ``%%checkpoint`` of one IPython.

    Args:
        shell: The IPython.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        #: A name is held by its function while somebody has that.
        self._kept: dict[str, Checkpointed[..., Any]] = {}
        #: What was warned of.
        self._warned: dict[Any, Any] = {}

    def run(self, line: str, cell: str) -> Any:
        """Keep the frame of a cell, and return it again while nothing that matters changed.

        The cell is the body of a function: of all that it assigns, the notebook gets the
        output alone, whether the cell ran or not. What matters is its code, the functions,
        classes, constants and frames of the notebook that it reaches, and its sources. What
        the notebook has under the name of the output counts only where the cell reads it.

        The name and the options::

            NAME              what identifies the checkpoint, and names its table
            --sources a,b=v1  versions that the frame is made of: names that the config
                              states, or name=version
            --inputs a,b      names of the notebook that count as arguments; frames that the
                              cell names are found by themselves
            --output df       the name that the cell assigns its frame to; else the value of
                              its last expression, or the one name that it assigns
            --max-age 7d      how old the frame may be
            --on-code-change  guard, recompute, error or accept: what to do when only code
                              changed
            --refresh         run the cell, whatever is stored
            --explain         say what the cell would do, and why; run and change nothing

        Args:
            line: What stands behind ``%%checkpoint``.
            cell: What stands below.

        Returns:
            What is shown: the frame, if the cell ends with it; a decision for ``--explain``.

        Raises:
            UsageError: The cell or an option can not be; nothing was run.
            UsherError: What the decorator and the call raise.
        """
        __tracebackhide__ = True  # IPython's: the way through here helps nobody
        try:
            stated = _parser().parse_args(shlex.split(line))
        except ValueError as problem:
            raise UsageError(f"%%{_MAGIC}: {problem}. Nothing was run.") from None
        # What shows an error reads the text as Python; and it names the cell that runs now.
        history = self.shell.history_manager
        number = len(history.input_hist_raw) - 1 if history is not None else 0
        filename = self.shell.compile.cache(f"# %%{_MAGIC} {line}\n{cell}", number)
        taken, inputs = self._taken(stated, cell, filename)
        self._warn(taken.remark(self.shell.user_ns), filename)
        frame = self._answer(taken, inputs, filename, stated)
        if stated.explain:
            return frame
        if taken.output:
            self.shell.user_ns[taken.output] = frame
        if taken.look is not None:
            return self.shell.ev(ast.unparse(taken.look))  # type: ignore[no-untyped-call]
        return frame if taken.shows else None

    def _taken(self, stated: Any, cell: str, filename: str) -> tuple[Cell, dict[str, Any]]:
        """Return a cell taken apart, and what it is given, with its imports done."""
        try:
            taken = cells.read(stated.name, cell, stated.output, filename)
            self._import(taken, filename)
            return taken, _inputs(taken, stated.inputs, self.shell.user_ns)
        except CellError as problem:
            raise UsageError(str(problem)) from None
        except SyntaxError as problem:
            raise problem.with_traceback(None) from None

    def _answer(
        self, taken: Cell, inputs: Mapping[str, Any], filename: str, stated: Any
    ) -> Any:
        """Return the frame of a cell, or the decision that was asked for."""
        __tracebackhide__ = True
        with self._shown_alone(taken, inputs) as is_hidden, _told(taken.name) as told:
            try:
                wrapped = self._wrapped(taken, inputs, filename, stated)
                voice.say_anew(taken.name)
                if stated.explain:
                    return wrapped.explain(**inputs)
                frame = wrapped.refresh(**inputs) if stated.refresh else wrapped(**inputs)
            except Exception as problem:
                _explain(problem, taken, filename, is_hidden=is_hidden)
                raise
            changed = _changed(taken, told, wrapped, inputs)
        self._warn(_unseen(taken, told), filename)
        self._warn(changed, filename)
        return frame

    def _warn(self, text: str, filename: str) -> None:
        """Warn a person who looks at the cell, once of the same thing; of nothing if empty."""
        if not text:
            return
        warnings.warn_explicit(text, UsherWarning, filename, 1, registry=self._warned)

    def _import(self, taken: Cell, filename: str) -> None:
        """Do the imports at the head of a cell, for the notebook, hit or miss."""
        if taken.imports:
            module = ast.Module(list(taken.imports), [])
            compiled = compile(module, filename, "exec", dont_inherit=True)
            self.shell.ex(compiled)  # type: ignore[no-untyped-call]

    def _wrapped(
        self, taken: Cell, inputs: Mapping[str, Any], filename: str, stated: Any
    ) -> Checkpointed[..., Any]:
        module = cells.as_function(taken, list(inputs))
        compiled = compile(module, filename, "exec", dont_inherit=True)
        code = next(each for each in compiled.co_consts if isinstance(each, CodeType))
        # Who shows an error looks for a `def`, unless the text is that of a module.
        code = code.replace(co_name="<module>")
        tree = module.body[-1]
        if isinstance(tree, ast.FunctionDef):
            syntax.remember(code, tree)
        function = FunctionType(code, self.shell.user_ns, taken.name)
        # A function of that name in the notebook is another one.
        function.__qualname__ = f"cell {taken.name}"
        wrapped = checkpoint(
            name=taken.name,
            sources=_sources(stated.sources),
            max_age=stated.max_age,
            on_code_change=stated.on_code_change,
        )(function)
        self._kept[taken.name] = wrapped
        return wrapped

    @contextmanager
    def _shown_alone(self, taken: Cell, inputs: Mapping[str, Any]) -> Iterator[bool]:
        """Keep what the notebook has under the name of the output from a cell.

        That is mostly what the cell itself assigned when it was run before. It would be
        another constant each time for a cell that names it in a text, such as a message.

        Yields:
            Whether there is anything that is hidden.
        """
        space = self.shell.user_ns
        if taken.output not in space or taken.output in {*inputs, *taken.reads}:
            yield False
            return
        before = space.pop(taken.output)
        try:
            yield True
        finally:
            space.setdefault(taken.output, before)


@dataclass
class _Told:
    """What the call of a cell was said to have done.

    Attributes:
        name: The checkpoint.
        untracked: What can not be watched, in words.
        made: What was computed and stored.
    """

    name: str
    untracked: tuple[str, ...] = ()
    made: Entry | None = None

    def hear(self, name: str, decision: Decision, entry: Entry | None, _: float) -> None:
        """Take what is told of a call."""
        if name != self.name:
            return
        now = () if isinstance(decision, Bypass) else decision.untracked
        stored = entry.key.untracked if entry is not None else ()
        self.untracked = tuple(dict.fromkeys((*now, *stored)))
        self.made = entry if isinstance(decision, Miss) else None


@contextmanager
def _told(name: str) -> Iterator[_Told]:
    told = _Told(name)
    with listening(told.hear):
        yield told


def _unseen(taken: Cell, told: _Told) -> str:
    """Return a warning of the values that a hit can not tell from others; or nothing."""
    unseen = [what for what in told.untracked if _VALUE.match(what)]
    if not unseen:
        return ""
    return (
        f"{taken.name} reaches what can not be watched: {', '.join(unseen)}. While nothing "
        "else changes, the stored frame is returned, whatever these hold. Make them inside "
        "the cell, or name what they are made of in --inputs."
    )


def _changed(
    taken: Cell, told: _Told, wrapped: Checkpointed[..., Any], inputs: Mapping[str, Any]
) -> str:
    """Return a warning of what a cell that ran changed in place; or nothing.

    What it assigns as its output is there after a hit as well.
    """
    if told.made is None:
        return ""
    became = {name: f"what became of {name} in cell {taken.name}() " for name in taken.reads}
    found = {n for n, what in became.items() if any(u.startswith(what) for u in told.untracked)}
    before = {part.label: part.digest for part in told.made.key.parts}
    try:
        now = wrapped.key(**inputs).parts if inputs else ()
        changed = [part for part in now if before.get(part.label) != part.digest]
        found |= {part.label for part in changed if part.kind == "argument"}
    except FingerprintError as problem:
        found.add(re.split(r"\W", problem.path)[0])
    except UsherError:
        # The frame is there, and is not withheld for a source that does not answer now.
        return ""
    if not found - {taken.output}:
        return ""
    return (
        f"{taken.name} changed {', '.join(sorted(found - {taken.output}))} in place. The frame "
        "is stored; a hit leaves the notebook as it is. Change a copy inside the cell, or "
        "change it in a cell that is not kept."
    )


def _explain(problem: Exception, taken: Cell, filename: str, *, is_hidden: bool) -> None:
    """Say of an error what to do in a cell, and show where in the cell it is.

    The way to it through the library helps nobody.
    """
    if isinstance(problem, CodeChangedError):
        problem.add_note(
            "Of a cell: `%%checkpoint ... --on-code-change accept` keeps the stored result, "
            "and --refresh runs the cell."
        )
    is_asked = isinstance(problem, NameError) and problem.name == taken.output
    if is_asked or (is_hidden and taken.output in _named(taken)):
        problem.add_note(
            "A cell does not see what the notebook has under the name of its output; "
            f"`--inputs {taken.output}` hands that in."
        )
    within = _within(problem.__traceback__, filename)
    if within is not None or isinstance(problem, UsherError):
        problem.with_traceback(within)


def _within(trace: TracebackType | None, filename: str) -> TracebackType | None:
    """Return a traceback from where it enters a file; None if it never does."""
    while trace is not None and trace.tb_frame.f_code.co_filename != filename:
        trace = trace.tb_next
    return trace


def _inputs(taken: Cell, declared: list[str], space: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names that count as arguments, each with the value that it has now."""
    missing = [name for name in declared if name not in space]
    if missing:
        raise CellError(
            taken.name,
            f"--inputs names {', '.join(missing)}, which the notebook does not have",
            "Run the cell that assigns it first.",
        )
    seen = {*taken.reads, *(_named(taken) - {taken.output})}
    frames = [name for name in seen if name in space and _frames_in(space[name])]
    both = [name for name in taken.both if name in space]
    inputs = {name: space[name] for name in {*declared, *frames, *both}}
    texts = (text for each in inputs.values() for text in texts_within(each, lambda _: ()))
    for name in words_of_queries(texts) & space.keys() - {taken.output}:
        if _frames_in(space[name]) or isinstance(space[name], _DATA):
            inputs[name] = space[name]
    queries = sorted(name for name, value in inputs.items() if _is_query(value))
    if queries:
        raise CellError(
            taken.name,
            f"it reads {', '.join(queries)}, whose rows are not there yet, so that nobody "
            "can tell whether they changed",
            "Make the query inside the cell, or collect it in a cell of its own.",
        )
    return dict(sorted(inputs.items()))


def _named(taken: Cell) -> set[str]:
    """Return what the queries in a cell name."""
    return words_of_queries(syntax.names_of(list(taken.body)).texts)


def _frames_in(value: Any) -> list[Any]:
    """Return a frame, or the frames of a collection that holds nothing else."""
    if type(value) not in (list, tuple, dict):
        return [value] if is_frame(value) else []
    items = list(value.values() if type(value) is dict else value)
    return items if all(map(is_frame, items)) else []


def _is_query(value: Any) -> bool:
    adapters = map(adapter_for, _frames_in(value))
    return any(adapter is not None and adapter.is_lazy for adapter in adapters)


def _sources(stated: list[str]) -> dict[str, Any]:
    pairs = [each.partition("=") for each in stated]
    for name, is_stated, version in pairs:
        if not name or (is_stated and not version):
            raise UsageError(
                f"%%{_MAGIC}: --sources states a name without a version, or none "
                f"({name}{is_stated}{version}). Nothing was run."
            )
    return {name: version if is_stated else LOOK_UP for name, is_stated, version in pairs}


def _listed(stated: str) -> list[str]:
    return [each.strip() for each in stated.split(",") if each.strip()]
