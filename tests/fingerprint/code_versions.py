"""Load many versions of one small package in one process, and say what their code means.

A script: it reads versions as JSON (name → root function and files) and prints for each
the digest, the parts and what is untracked.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from usher_pipeline.fingerprint.code import graph_of
from usher_pipeline.fingerprint.ownership import Ownership


def _measure(root: str, files: dict[str, str], folder: Path) -> dict[str, Any]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    known = set(sys.modules)
    places = [str(folder), str(folder / "site-packages")]
    sys.path[:0] = places
    importlib.invalidate_caches()
    try:
        module, _, name = root.partition(":")
        function: Any = importlib.import_module(module)
        for step in name.split("."):
            function = getattr(function, step)
        function = getattr(function, "__usher_function__", function)
        graph = graph_of(function, Ownership.of(function, str(folder)))
    finally:
        del sys.path[: len(places)]
        for name in set(sys.modules) - known:
            if name.partition(".")[0] in ("pkg", "lib", "other"):
                del sys.modules[name]
    return {
        "digest": graph.digest,
        "parts": {part.label: part.digest for part in graph.parts},
        "previews": {part.label: part.preview for part in graph.parts},
        "untracked": graph.untracked,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as top:
        results = {
            case: _measure(version["root"], version["files"], Path(top, str(number)))
            for number, (case, version) in enumerate(json.load(sys.stdin).items())
        }
    json.dump(results, sys.stdout)
