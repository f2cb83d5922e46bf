"""Execute the Python examples of the documents, each document in a folder of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from usher_pipeline.persistence import publisher

if TYPE_CHECKING:
    from sybil import Example


#: How long it may take to publish what an example made.
PATIENCE_S: Final = 60.0


def enter(namespace: dict[str, Any]) -> None:
    """Start a document as a script in an empty folder, with no settings of this machine."""
    namespace["__name__"] = "__main__"
    for name in [name for name in os.environ if name.startswith("USHER_")]:
        del os.environ[name]
    namespace["_folder"] = folder = tempfile.TemporaryDirectory()
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


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser(language="ipython3", evaluator=run_cell),
        SkipParser(),
    ],
    patterns=["*.md"],
    setup=enter,
    teardown=leave,
).pytest()
