"""Which result a frame is, and what stands in the sidecar of a file."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest

from usher_pipeline import checkpoint, export, run
from usher_pipeline.exporting import inputs_among
from usher_pipeline.persistence import ProvenanceTracker


@checkpoint(name="exported_part", sources=["gnomad"])
def part(n: int) -> pl.DataFrame:
    """Return a small frame."""
    return pl.DataFrame({"n": [n, n + 1]})


@checkpoint(name="pandas_part")
def pandas_part() -> pd.DataFrame:
    """Return a small frame that can be changed in place."""
    return pd.DataFrame({"n": [1, 2]})


@checkpoint(name="exported_join")
def joined(frames: Any) -> pl.DataFrame:
    """Return the frames as one."""
    parts: list[pl.DataFrame] = list(frames.values() if isinstance(frames, dict) else frames)
    return pl.concat(parts)


@checkpoint(name="exported_count")
def counted(frame: Any) -> pl.DataFrame:
    """Return the number of rows."""
    return pl.DataFrame({"rows": [len(frame)]})


CONFIG = {"versions": {"gnomad": "v4.1"}}


def sidecar(frame: Any) -> dict[str, Any]:
    """Return the provenance that a frame is exported with."""
    return ProvenanceTracker.load_sidecar(
        export(frame, "out.parquet").with_suffix(".provenance.json")
    )


def names(record: dict[str, Any]) -> list[str]:
    """Return the names of the steps."""
    return [step["step_name"] for step in record["processing_steps"]]


def test_results_in_lists_and_mappings_are_inputs() -> None:
    """A result that was handed over inside of something is an input all the same."""
    with run(CONFIG):
        assert names(sidecar(joined([part(1), part(2)]))) == [
            "exported_part",
            "exported_part",
            "exported_join",
        ]
        assert names(sidecar(joined({"a": part(1)}))) == ["exported_part", "exported_join"]


def test_a_frame_that_was_made_of_results_is_named_as_unknown() -> None:
    """Where nobody knows what an argument was made of, the record says so."""
    with run(CONFIG):
        found = sidecar(counted(part(1).filter(pl.col("n") > 1)))
    (step, possible) = found["processing_steps"]
    assert step["details"]["inputs_of_unknown_origin"] == ["frame"]
    assert found["output"]["note"].startswith("made of frames")
    assert possible["step_name"] == "exported_part"
    assert "whether it led here is not known" in possible["details"]["relation"]


def test_a_result_that_was_changed_is_no_input() -> None:
    """A frame that was changed in place is not passed off as what the checkpoint returned."""
    with run():
        frame = pandas_part()
        known, unknown = inputs_among({"frame": frame, "others": [frame]})
        assert [read.name for read in known] == ["pandas_part"]
        assert unknown == []
        frame["n"] = 99
        assert inputs_among({"frame": frame, "n": 1}) == ([], ["frame"])
        assert inputs_among({"others": {"a": frame}}) == ([], ["others['a']"])


def test_the_versions_are_those_that_were_used() -> None:
    """A source that another version was used of elsewhere in the run does not mix in."""

    @checkpoint(name="other", sources={"gnomad": "v4.0", "hpa": 23})
    def other() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    with run(CONFIG) as current:
        first, second = part(1), other()
        assert sidecar(first)["data_source_versions"] == {"gnomad": "v4.1"}
        assert sidecar(second)["data_source_versions"] == {"gnomad": "v4.0", "hpa": "23"}
        versions = current.metadata()["data_source_versions"]
    assert versions == {"gnomad": ["v4.1", "v4.0"], "hpa": "23"}


def test_values_and_settings_stand_in_full() -> None:
    """A step tells every value that counted, however long, and where it was stated."""
    weights = {f"layer_{index}": index / 100 for index in range(20)}

    @checkpoint(name="weighed", config=["scoring"])
    def weighed(values: dict[str, float]) -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    with run({"scoring": {"gnomad": 0.2, "token": "s3cret"}}):
        details = sidecar(weighed(weights))["processing_steps"][0]["details"]
    assert details["arguments"] == {"values": repr(weights)}
    assert details["settings"] == {"scoring": "{'gnomad': 0.2, 'token': (hidden)}"}
    assert details["stated_in"]["scoring"] == "run(...)"


@pytest.mark.parametrize("form", ["polars", "pandas", "arrow"])
def test_a_result_in_another_form_is_still_that_result(form: str) -> None:
    """What is asked for as a frame of another library has the same origin, unless changed."""
    with run(CONFIG):
        frame = getattr(part, form)(1)
        assert inputs_among({"frame": frame})[1] == []
        counted(frame)
        (entry,) = counted.entries()
        assert [each.name for each in entry.inputs] == ["exported_part"]
        assert sidecar(frame)["output"]["content"] == part.entries()[0].content


def test_a_result_in_another_form_that_was_changed_is_none() -> None:
    """A frame of pandas that somebody wrote into is told from the one that was returned."""
    with run(CONFIG):
        frame = part.pandas(1)
        frame.loc[0, "n"] = 99
        assert inputs_among({"frame": frame}) == ([], ["frame"])
        assert sidecar(frame)["output"]["note"] == "changed after the checkpoint returned it"
