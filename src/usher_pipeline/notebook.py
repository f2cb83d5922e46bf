"""The magic command by which the cell of a notebook is a checkpoint.

``%load_ext usher_pipeline`` registers it. The cell becomes a function in the namespace of
the notebook, and the decorator does the rest.
"""

from __future__ import annotations

import argparse
import ast
import shlex
import warnings
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

from IPython.core.error import UsageError

from usher_pipeline import cells
from usher_pipeline.decorator import checkpoint
from usher_pipeline.errors import CellError, CodeChangedError, UsherError, UsherWarning
from usher_pipeline.fingerprint import syntax
from usher_pipeline.fingerprint.binding import LOOK_UP
from usher_pipeline.frames import adapter_for
from usher_pipeline.planning import CodePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from IPython.core.interactiveshell import InteractiveShell

    from usher_pipeline.cells import Cell
    from usher_pipeline.decorator import Checkpointed

__all__ = ["CellMagic", "load_ipython_extension", "unload_ipython_extension"]

_MAGIC: Final = "checkpoint"
#: Frames whose values are there, so that they can count as arguments.
_FRAMES: Final = frozenset(
    (
        "polars.DataFrame",
        "polars.Series",
        "pandas.DataFrame",
        "pandas.Series",
        "pyarrow.Table",
    )
)


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
        try:
            stated = _parser().parse_args(shlex.split(line))
        except ValueError as problem:
            raise UsageError(f"%%{_MAGIC}: {problem}. Nothing was run.") from None
        filename = self.shell.compile.cache(
            f"%%{_MAGIC} {line}\n{cell}", self.shell.execution_count
        )
        try:
            taken = cells.read(stated.name, cell, stated.output, filename)
            self._import(taken, filename)
            inputs = _inputs(taken, stated.inputs, self.shell.user_ns)
        except CellError as problem:
            raise UsageError(str(problem)) from None
        except SyntaxError as problem:
            raise problem.with_traceback(None) from None
        remark = taken.remark(self.shell.user_ns)
        if remark:
            warnings.warn(remark, UsherWarning, stacklevel=2)
        try:
            with self._shown_alone(taken, inputs):
                wrapped = self._wrapped(taken, inputs, filename, stated)
                if stated.explain:
                    return wrapped.explain(**inputs)
                frame = wrapped.refresh(**inputs) if stated.refresh else wrapped(**inputs)
        except Exception as problem:
            _explain(problem, taken, filename)
            raise
        if taken.output:
            self.shell.user_ns[taken.output] = frame
        if cell.rstrip().endswith(";"):
            return None
        if taken.look is not None:
            return self.shell.ev(ast.unparse(taken.look))  # type: ignore[no-untyped-call]
        return frame if taken.shows else None

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
    def _shown_alone(self, taken: Cell, inputs: Mapping[str, Any]) -> Iterator[None]:
        """Keep what the notebook has under the name of the output from a cell.

        That is mostly what the cell itself assigned when it was run before. It would be
        another constant each time for a cell that names it in a text, such as a message.
        """
        space = self.shell.user_ns
        if taken.output not in space or taken.output in {*inputs, *taken.reads}:
            yield
            return
        before = space.pop(taken.output)
        try:
            yield
        finally:
            space.setdefault(taken.output, before)


def _explain(problem: Exception, taken: Cell, filename: str) -> None:
    """Say of an error what to do in a cell, and show where in the cell it is.

    The way to it through the library helps nobody.
    """
    if isinstance(problem, CodeChangedError):
        problem.add_note(
            "Of a cell: `%%checkpoint ... --on-code-change accept` keeps the stored result, "
            "and --refresh runs the cell."
        )
    if isinstance(problem, NameError) and problem.name == taken.output:
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
    frames = [name for name in taken.reads if name in space and _is_frame(space[name])]
    both = [name for name in taken.both if name in space]
    return {name: space[name] for name in sorted({*declared, *frames, *both})}


def _is_frame(value: Any) -> bool:
    adapter = adapter_for(value)
    return adapter is not None and adapter.kind in _FRAMES


def _sources(stated: list[str]) -> dict[str, Any]:
    pairs = (each.partition("=") for each in stated)
    return {name: version if is_stated else LOOK_UP for name, is_stated, version in pairs}


def _listed(stated: str) -> list[str]:
    return [each.strip() for each in stated.split(",") if each.strip()]
