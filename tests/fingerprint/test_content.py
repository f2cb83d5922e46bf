"""The digest of a frame, told from the digests of its columns."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from usher_pipeline.fingerprint.content import combine
from usher_pipeline.fingerprint.frames import column_digests, frame_digest
from usher_pipeline.frames import Packed, adapter_for


def packed(frame: Any) -> Packed:
    """Return a frame as it is stored."""
    adapter = adapter_for(frame)
    assert adapter is not None
    return adapter.to_arrow(frame)


def test_a_frame_is_its_kind_its_schema_and_its_columns() -> None:
    """The digest is put together of parts that may come from an entry; JSON changes nothing."""
    one = packed(pd.DataFrame({"a": [1.5], "b": ["x"]}, index=pd.Index(["i"], name=("n", 1))))
    digests = column_digests(one.table)
    stored = json.loads(json.dumps(one.schema))
    assert combine(one.kind, stored, digests) == frame_digest(one)
    assert combine(one.kind, stored, digests[::-1]) != frame_digest(one)
    assert combine(one.kind, stored | {"sql_names": []}, digests) == frame_digest(one)
