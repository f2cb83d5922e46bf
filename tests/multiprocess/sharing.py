"""Eight workers of a kind of pool share ten keys of one store; the parent uses it as well.

A script: ``sharing.py POOL METHOD``, in the folder of the store, which the environment
names. It prints what every call gave.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from shared_work import KEYS, ask, shared

from usher_pipeline.persistence import PipelineStore

WORKERS, CALLS = 8, 50
STORE = os.environ["USHER_STORE"]


def by_executor(method: str) -> list[Any]:
    """Let the workers of `concurrent.futures` ask, and one more call go by its reference."""
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        futures = [pool.submit(ask, seed, CALLS) for seed in range(WORKERS)]
        by_reference = [pool.submit(shared, number) for number in range(KEYS)]
        heights = [future.result().height for future in by_reference]
        assert heights == [100 + number for number in range(KEYS)], heights
        return [future.result() for future in futures]


def by_processes(method: str) -> list[Any]:
    """Let processes of `multiprocessing` ask, in a pool of theirs."""
    context = multiprocessing.get_context(method)
    pool = context.Pool(WORKERS)
    try:
        return pool.starmap(ask, [(seed, CALLS) for seed in range(WORKERS)], chunksize=1)
    finally:
        # To leave the pool as a block would kill the workers where they are.
        pool.close()
        pool.join()


def by_loky() -> list[Any]:
    """Let the workers of joblib ask."""
    import joblib

    jobs = (joblib.delayed(ask)(seed, CALLS) for seed in range(WORKERS))
    answers: list[Any] = joblib.Parallel(WORKERS)(jobs)
    return answers


def main(pool: str, method: str = "") -> None:
    """Use the store, let the workers use it, and use it again."""
    with PipelineStore(STORE) as store:
        # The parent has a connection of its own while its children begin.
        assert store.conn.execute("SELECT 1").fetchone() == (1,)
        first = shared(0).height
    assert first == 100
    answers = {
        "executor": lambda: by_executor(method),
        "pool": lambda: by_processes(method),
        "loky": by_loky,
    }[pool]()
    answers.append(ask(seed=99, calls=CALLS))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
