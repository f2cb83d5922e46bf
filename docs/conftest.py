"""Execute the examples of the documents, each document in a folder of its own.

Python is run; what stands behind a ``$`` in a console is, too, and has to print what stands
below it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from usher_pipeline.persistence import publisher

#: How long it may take to publish what an example made.
PATIENCE_S: Final = 60.0


def enter(namespace: dict[str, Any]) -> None:
    """Start a document as a script in an empty folder, with no settings of this machine."""
    namespace["__name__"] = "__main__"
    for name in [name for name in os.environ if name.startswith("USHER_")]:
        del os.environ[name]
    # What is published behind the caller may still be written when the document ends.
    namespace["_folder"] = folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    namespace["_before"] = os.getcwd()  # noqa: PTH109 - given back as it was
    os.chdir(folder.name)


def run_cell(example: Example) -> None:
    """Run a cell of a notebook, in the one kernel that its document has."""
    if "_kernel" not in example.namespace:
        from jupyter_client.manager import start_new_kernel

        example.namespace["_kernel"] = start_new_kernel(kernel_name="python3")
    _, client = example.namespace["_kernel"]
    code = str(example.parsed)
    answer = client.execute_interactive(
        code, allow_stdin=False, timeout=120, output_hook=lambda _: None
    )["content"]
    if answer["status"] != "ok":
        raise AssertionError("\n".join(answer["traceback"]))


def leave(namespace: dict[str, Any]) -> None:
    """Go back, and drop what the examples made."""
    if "_kernel" in namespace:
        manager, client = namespace["_kernel"]
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    for database in Path(namespace["_folder"].name).resolve().rglob("*.duckdb"):
        # What is done behind the caller may still be at work there.
        publisher.wait(database, PATIENCE_S)
    os.chdir(namespace["_before"])
    namespace["_folder"].cleanup()


#: What is another one each time: durations, digests, times, the folder, the version.
_VARYING: Final = (
    (re.compile(r"\b\d+(\.\d+)? (ms|s|min|h|d)\b( \d+ min)?"), "T"),
    (re.compile(r"\b[0-9a-f]{8,32}\b"), "KEY"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?"), "MOMENT"),
    (re.compile(r"\b\d+(\.\d+)? (B|kB|MB|GB)\b"), "SIZE"),
    (re.compile(r"\S*/(?=\.usher/)"), "…/"),
    (re.compile(r"[ ─]+"), " "),
)


def masked(text: str) -> list[str]:
    """Return the lines of what a command printed, without what is another one each time."""
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return [line.strip() for line in text.strip().splitlines()]


def converse(example: Example) -> str | None:
    """Run the commands of a console, and compare what they print with what stands there.

    A file that ``cat`` shows is written first: the document says what is in it.
    """
    for piece in re.split(r"^\$ ", str(example.parsed), flags=re.MULTILINE)[1:]:
        command, _, expected = piece.partition("\n")
        if command.startswith("cat "):
            Path(command.removeprefix("cat ")).write_text(expected, "utf-8")
            continue
        code = example.namespace.get("_code", 0)
        called = re.sub(r"^usher\b", f"{sys.executable} -m usher_pipeline", command)
        done = subprocess.run(  # noqa: S602 - the documents are ours
            called.replace("$?", str(code)),
            shell=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            # What is edited within a second would be taken for what was compiled.
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
        example.namespace["_code"] = done.returncode
        if masked(done.stdout) != masked(expected):
            return f"$ {command}\nexpected:\n{expected}\nprinted:\n{done.stdout}"
    return None


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser("console", evaluator=converse),
        CodeBlockParser("ipython3", evaluator=run_cell),
        PythonCodeBlockParser(),
        SkipParser(),
    ],
    patterns=["*.md"],
    setup=enter,
    teardown=leave,
).pytest()
