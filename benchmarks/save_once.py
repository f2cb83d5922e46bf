"""Have one big frame saved; report how long the caller waits and until its table is there.

A script: ``save_once.py usher|joblib``, in a folder where nothing is stored yet. The function
returns a frame that was made before, so that a call takes what storing it takes.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Final

import kept
from figures import seconds_of
from mixed import mixed
from processes import make_even, report

#: More than a save takes, with its file, the work on it and its table.
_SAVE_BYTES: Final = 5 << 30


def main(who: str) -> None:
    """Save, report, and fail if the caller did not get what the function returned."""
    frame = mixed()
    importlib.import_module("pyarrow.compute")
    importlib.import_module("joblib")
    importlib.import_module("usher_pipeline.calls")
    make_even(_SAVE_BYTES)
    function = kept.as_polars if who == "usher" else kept.by_joblib(kept.as_polars)
    bare_s = seconds_of(lambda: kept.as_polars.__wrapped__(1, frame))
    started = time.perf_counter()
    result = function(1, frame)
    waited_s = time.perf_counter() - started - bare_s
    if who == "usher":
        kept.published(kept.as_polars)
    settled_s = time.perf_counter() - started - bare_s
    sync_s = seconds_of(os.sync)
    if not result.equals(frame):
        sys.exit(f"{who} gave the caller another frame: {result}")
    report(waited_s=waited_s, settled_s=settled_s, sync_s=sync_s)


if __name__ == "__main__":
    main(*sys.argv[1:])
