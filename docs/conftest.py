"""Execute the Python examples of the documents, each document in a folder of its own."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser


def enter(namespace: dict[str, Any]) -> None:
    """Start a document as a script in an empty folder, with no settings of this machine."""
    namespace["__name__"] = "__main__"
    for name in [name for name in os.environ if name.startswith("USHER_")]:
        del os.environ[name]
    namespace["_folder"] = folder = tempfile.TemporaryDirectory()
    namespace["_before"] = os.getcwd()  # noqa: PTH109 - given back as it was
    os.chdir(folder.name)


def leave(namespace: dict[str, Any]) -> None:
    """Go back, and drop what the examples made."""
    os.chdir(namespace["_before"])
    namespace["_folder"].cleanup()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["*.md"],
    setup=enter,
    teardown=leave,
).pytest()
