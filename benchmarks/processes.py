"""Scripts of this folder in processes of their own.

A script prints one line of JSON when it is done. It runs in a folder that holds its store,
``store.duckdb``, and the results of joblib.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
STORE: Final = "store.duckdb"
_PATIENCE_S: Final = 1800.0
_PIECE: Final = bytes(1 << 20)


def started(folder: Path, script: str, *arguments: object, **variables: str) -> Any:
    """Start a script and return its process.

    Args:
        folder: Where it runs.
        script: Its name.
        arguments: What it is given.
        variables: More of its environment.
    """
    # As an installed package does, ours keeps its modules compiled, whatever is set here.
    dropped = ("USHER_", "PYTHONDONTWRITEBYTECODE")
    outer = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    sizes = {k: v for k, v in os.environ.items() if k.startswith("USHER_BENCH_")}
    stated = {"USHER_STORE": str(folder / STORE), **variables}
    command = [sys.executable, str(HERE / f"{script}.py"), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=outer | sizes | stated, stdout=subprocess.PIPE, text=True
    )


def answer_of(process: Any) -> dict[str, Any]:
    """Wait for the end of a script and return what it reported."""
    answer: dict[str, Any] = json.loads(finish(process).splitlines()[-1])
    return answer


def finish(process: Any) -> str:
    """Wait for the end of a script, which must be a good one; return what it printed."""
    with process:
        printed: str = process.communicate(timeout=_PATIENCE_S)[0]
    assert process.returncode == 0, printed
    return printed


def answered(folder: Path, script: str, *arguments: object, **variables: str) -> dict[str, Any]:
    """Run a script to its end and return what it reported."""
    return answer_of(started(folder, script, *arguments, **variables))


def report(**facts: Any) -> None:
    """Print what a script has to report."""
    print(json.dumps(facts), flush=True)


def seen(path: Path) -> None:
    """Wait until a file is there."""
    until_s = time.monotonic() + _PATIENCE_S
    while not path.exists():
        assert time.monotonic() < until_s, path
        time.sleep(0.002)


def make_even(size_bytes: int) -> None:
    """Leave the machine the same for everybody who is measured.

    A disk writes what was left to it before it writes what it is asked for. And a virtual
    machine has to ask its host for memory that nobody let go of just before: who comes first
    would pay for it, some 0.8 s for a gigabyte, and who comes second would not.

    Args:
        size_bytes: How much memory is made sure of.
    """
    filler = Path("filler")
    with filler.open("wb") as file:
        for _ in range(size_bytes // len(_PIECE)):
            file.write(_PIECE)
    os.sync()
    filler.unlink()
