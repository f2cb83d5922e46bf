"""The checkpoints that many processes share; a module of its own, as pools import it."""

from __future__ import annotations

import os
import random
import time

import polars as pl

from usher_pipeline import checkpoint

KEYS = 10


@checkpoint(name="shared_table")
def shared(number: int) -> pl.DataFrame:
    """Return a table that all ask for, and note that it was made."""
    note(f"shared-{number}")
    time.sleep(0.02)
    return pl.DataFrame({"row": range(100 + number), "number": [number] * (100 + number)})


@checkpoint(name="shared_sum")
def summed(number: int) -> pl.DataFrame:
    """Return a table that is made of another one."""
    note(f"summed-{number}")
    return shared(number).select(pl.col("number").sum())


def note(what: str) -> None:
    """Note that something ran, a byte each time."""
    number = os.open("ran-" + what, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(number, b"x")
    os.close(number)


def ask(seed: int, calls: int) -> list[tuple[int, int, int]]:
    """Ask for the shared tables in some order; return what came back.

    Args:
        seed: What the order follows from.
        calls: How many calls.

    Returns:
        For each call the key, the height of the table and its sum.
    """
    order = random.Random(seed)  # noqa: S311
    answers = []
    for _ in range(calls):
        number = order.randrange(KEYS)
        height, total = shared(number).height, summed(number).item()
        answers.append((number, height, total))
    return answers
