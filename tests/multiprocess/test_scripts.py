"""A checkpoint that a script defines is called in whatever processes the script starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

SCRIPT: Final = """
import json
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor

import polars as pl
from joblib import Parallel, delayed

from usher_pipeline import checkpoint, configure

configure(store="store.duckdb")


@checkpoint(name="numbered")
def numbered(number):
    return pl.DataFrame({"number": [number]})


def height(number):
    return numbered(number).height


if __name__ == "__main__":
    numbered(0)
    assert pickle.loads(pickle.dumps(numbered)) is numbered
    if sys.argv[1] == "loky":
        pool = Parallel(n_jobs=2)
        found = pool(delayed(height)(n) for n in range(3))
        found += [frame.height for frame in pool(delayed(numbered)(n) for n in range(3))]
    else:
        context = multiprocessing.get_context(sys.argv[1])
        with ProcessPoolExecutor(2, context) as pool:
            found = list(pool.map(height, range(3)))
            found += [frame.height for frame in pool.map(numbered, range(3))]
    entries = numbered.entries()
    print(json.dumps([found, len(entries), sorted({entry.function for entry in entries})]))
"""


@pytest.mark.parametrize("way", ["loky", "spawn", "forkserver", "fork"])
@pytest.mark.parametrize("as_module", [False, True])
def test_a_script(way: str, as_module: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """It is found there, is the same function, and its results bear one name."""
    Path("scripted.py").write_text(SCRIPT)
    command = ["-m", "scripted"] if as_module else ["scripted.py"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", *command, way],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1] * 6, 3, ["scripted.numbered"]]


MAPPED: Final = """
import json
import multiprocessing
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor

import polars as pl
from joblib.externals.loky import get_reusable_executor

from usher_pipeline import checkpoint, configure
from usher_pipeline.errors import MapIncompleteError

configure(store="store.duckdb", progress=False)


class StatusError(Exception):
    def __init__(self, message, *, response):
        super().__init__(message)
        self.response = response


class Response:
    status_code = 503
    headers = {"Retry-After": "0"}
    stream = staticmethod(lambda: None)


@checkpoint(name="asked")
def asked(number):
    if number == 3:
        raise StatusError("503 for url ...", response=Response())
    return pl.DataFrame({"number": [number]})


if __name__ == "__main__":
    if sys.argv[1] == "loky":
        pool = get_reusable_executor(2)
    else:
        pool = ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1]))
    scan = asked.mapped(over="number", workers=2, retries=1, executor=pool)
    try:
        scan(range(6))
    except MapIncompleteError as problem:
        found = problem.frame["number"].to_list()
        failed = [[f.item, f.error_type, f.message, f.attempts] for f in problem.failures]
        print(json.dumps([found, failed]))
    pool.shutdown()
    sent = pickle.loads(pickle.dumps(asked.mapped(over="number", retries=2)))
    assert sent.load([4, 0])["number"].to_list() == [4, 0]
"""


@pytest.mark.parametrize("way", ["loky", "spawn"])
def test_a_map_over_processes(way: str) -> None:
    """An error that breaks a pool when it arrives is told in words; a map can be sent."""
    Path("mapped.py").write_text(MAPPED)
    done = subprocess.run(
        [sys.executable, "mapped.py", way], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found, failed = json.loads(done.stdout)
    assert found == [0, 1, 2, 4, 5]
    ((item, error_type, *rest),) = failed
    assert (item, rest) == (3, ["503 for url ...", 2])
    assert error_type.endswith(".StatusError")
