"""A notebook in which somebody presses Ctrl-C again and again, and goes on.

A script: ``interrupted.py PRESSES``, in the folder of a store that the environment names. It
computes results until Ctrl-C has stopped so many calls, and one more in peace. It prints a
line of JSON: the number of that one, whether it was published, and what else was raised.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import polars as pl

from usher_pipeline import checkpoint
from usher_pipeline.persistence import publisher
from usher_pipeline.persistence.local import resolved

#: How long it takes at most until somebody presses again, and until all is published.
MOST_S, PATIENCE_S = 0.03, 20.0


@checkpoint(name="interrupted")
def numbered(number: int) -> pl.DataFrame:
    """Return a small frame: most of the time goes into the store."""
    return pl.DataFrame({"number": [number] * 3})


class Person:
    """Somebody who presses Ctrl-C now and then; what comes outside of a call is no matter."""

    def __init__(self) -> None:
        self.is_there, self.is_calling = True, False
        signal.signal(signal.SIGINT, self._pressed)
        self.thread = threading.Thread(target=self._press)
        self.thread.start()

    def _pressed(self, *_: object) -> None:
        if self.is_calling:
            self.is_calling = False
            raise KeyboardInterrupt

    def _press(self) -> None:
        chance = random.Random()  # noqa: S311
        while self.is_there:
            time.sleep(chance.uniform(0, MOST_S))
            os.kill(os.getpid(), signal.SIGINT)

    def leave(self) -> None:
        """Press no more."""
        self.is_there = False
        self.thread.join()


def work(presses: int) -> dict[str, object]:
    """Compute until so many calls were stopped; return what happened."""
    numbered(0)
    last, stopped, others = 0, 0, set[str]()
    person = Person()
    while stopped < presses:
        last += 1
        try:
            person.is_calling = True
            numbered(last)
            person.is_calling = False
        except KeyboardInterrupt:
            stopped += 1
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is told
            others.add(repr(problem))
    person.leave()
    last += 1
    numbered(last)
    is_published = publisher.wait(resolved(Path(os.environ["USHER_STORE"])), PATIENCE_S)
    return {"last": last, "others": sorted(others), "is_published": is_published}


if __name__ == "__main__":
    print(json.dumps(work(int(sys.argv[1]))), flush=True)  # noqa: T201
    # Others come while this process still lives.
    sys.stdin.read()
