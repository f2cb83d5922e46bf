"""A newer version of the library, as far as a store can tell one.

A script: ``newer.py``, in the folder of a store that the environment names. It stores results
in a format of entries that the present version does not know, with more in each place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
from shared_format import genes

from usher_pipeline import records
from usher_pipeline.persistence import segments

NEWER = records.ENTRY_FORMAT + 1


def main() -> None:
    """Store two results, and add to the database what a newer version would."""
    plain = records.Entry.to_json

    def to_json(entry: records.Entry) -> dict[str, Any]:
        return plain(entry) | {"format": NEWER, "more": {"of": ["another", "version"]}}

    records.Entry.to_json = to_json  # type: ignore[assignment, method-assign]
    for module in (records, segments):
        vars(module)["ENTRY_FORMAT"] = NEWER
    genes(3)
    genes(4)
    with duckdb.connect("store.duckdb") as connection:
        connection.execute("ALTER TABLE _checkpoints ADD COLUMN more VARCHAR DEFAULT 'newer'")
        connection.execute("ALTER TABLE _provenance ADD COLUMN more VARCHAR DEFAULT 'newer'")
        connection.execute("CREATE TABLE _lineage AS SELECT 1 AS n")
    folder = Path("store.checkpoints")
    (folder / ".newer").mkdir()
    (folder / ".newer" / "note.json").write_text(json.dumps({"format": NEWER}))


if __name__ == "__main__":
    main()
