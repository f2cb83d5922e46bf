"""Processes that save results until a signal ends them.

A script: ``dying.py SIGNAL``, in the folder of a store that the environment names. For each
line on its input, the number of a round, it forks a child that computes one result after
another, sends it the signal at a random moment, and prints a line of JSON: what the child had
told until it ended. Every other round the moment is one shortly after a function has ended,
so that a signal meets saves however slow the machine is.
The libraries are loaded once, and the parent itself never asks for anything.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sys
import time

# What is not used here would take each child up to half a second, for DuckDB 1 most of all.
import numpy as np
import pandas as pd  # noqa: F401
import polars as pl
import pyarrow.compute
import pyarrow.dataset  # noqa: F401

import usher_pipeline.calls
import usher_pipeline.persistence.tables  # noqa: F401 - the same
from usher_pipeline import checkpoint

#: How many rows a result has at most, and how long a child lives at most.
MOST_ROWS, MOST_S = 1_000_000, 0.35
#: After how many saves begin the moment may be that is near one, and how near.
MOST_SAVES, NEAR_S = 4, 0.03
#: How often somebody presses Ctrl-C, and waits for how long, before a child is killed.
PRESSES, PATIENCE_S = 4, 5.0


def frame_of(number: int, rows: int) -> pl.DataFrame:
    """Return the one frame that a result of a number has."""
    texts = [f"gene {number}"] * min(rows, 1000)
    return pl.DataFrame(
        {
            "row": np.arange(rows),
            "number": np.full(rows, number, dtype="f8"),
            "gene": texts + [None] * (rows - len(texts)),
        },
        schema_overrides={"gene": pl.String},
    )


@checkpoint(name="dying", ignore=["pipe"])
def dying(number: int, rows: int, pipe: int) -> pl.DataFrame:
    """Return a frame, and tell right before that it is about to be saved."""
    frame = frame_of(number, rows)
    os.write(pipe, b"s")
    return frame


def live(round_number: int, pipe: int) -> None:
    """Compute results of random sizes, small ones most of all, until somebody ends us."""
    # Where tests run in the background it is ignored, which is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chance = random.Random(round_number)  # noqa: S311
    for turn in range(1000):
        rows = int(math.exp(chance.uniform(0, math.log(MOST_ROWS))))
        number = round_number * 1000 + turn
        os.write(pipe, json.dumps([number, rows]).encode())
        dying(number, rows, pipe)
        os.write(pipe, b"r\n")


def ended(child: int, number: int) -> int:
    """Send a signal until the child ends, as an impatient person does; return its status.

    Python drops an exception that comes within a callback, Ctrl-C as any other.
    """
    for _ in range(PRESSES):
        os.kill(child, number)
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return status
            time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def watch(round_number: int, number: int) -> dict[str, object]:
    """Let a child live for a while; return what it told until a signal ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            live(round_number, writing)
        finally:
            os._exit(1)
    os.close(writing)
    # From its first word on, so that what it takes to fork is no part of its life.
    told = os.read(reading, 1)
    chance = random.Random(-round_number - 1)  # noqa: S311
    if round_number % 2:
        saves = chance.randint(1, MOST_SAVES)
        while told.count(b"s") < saves:
            told += os.read(reading, 1)
        time.sleep(chance.uniform(0, NEAR_S))
    else:
        time.sleep(chance.uniform(0, MOST_S))
    status = ended(child, number)
    while piece := os.read(reading, 1 << 16):
        told += piece
    os.close(reading)
    *done, last = told.decode().split("\n")
    begun = json.loads(last.rstrip("s")) if last else None
    return {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "returned": [json.loads(line.rstrip("sr")) for line in done],
        "begun": begun,
        "was_saving": last.endswith("s"),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(watch(int(line), int(sys.argv[1]))), flush=True)  # noqa: T201
