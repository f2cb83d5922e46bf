"""`usher diff`: in what two results of a checkpoint differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from usher_pipeline import checkpoint, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call, CallJson

NAME = "cli größe 🧬"


def test_the_last_two_results_are_compared(
    store: Path, call: Call, call_json: CallJson
) -> None:
    """Without keys the current result is compared with the one before it; exit code 4."""
    done = call("diff", NAME, "--store", store)
    assert done.exit_code == 4
    assert "because: limit: 2 → 3" in done.output
    assert "rows: 2 → 3, matched by n" in done.output
    found = call_json("diff", NAME, "--store", store, code=4)
    assert (found["rows_added"], found["added"], found["key_columns"]) == (1, [[2]], ["n"])


def test_keys_name_what_is_compared(
    store: Path, call: Call, call_json: CallJson, numbers: Any
) -> None:
    """A and B are beginnings of keys, and an older result of one key has its number."""
    newer, older = (e["key"] for e in call_json("show", NAME, "--store", store)["entries"])
    back = call_json("diff", NAME, newer[:8], older[:8], "--store", store, code=4)
    assert (back["rows_added"], back["rows_removed"]) == (0, 1)
    with run(store=store):
        numbers.refresh(3)
    same = call("diff", NAME, f"{newer[:8]}-1", f"{newer[:8]}-2", "--store", store)
    assert same.exit_code == 0
    assert same.output.splitlines()[-1] == "nothing differs"
    lost = call("diff", NAME, f"{newer[:8]}-9", "--store", store)
    assert lost.exit_code == 3
    assert f"no result of '{NAME}' under a key that begins with '{newer[:8]}-9'" in lost.stderr
    assert f"There are {newer[:8]}-1, {newer[:8]}-2." in lost.stderr
    assert call("diff", NAME, "zz", "--store", store).exit_code == 3


def test_the_same_rows_in_another_order(
    tmp_path: Path, call: Call, call_json: CallJson
) -> None:
    """Rows are compared wherever they stand; that the results are others is said."""
    path = tmp_path / "ordered.duckdb"

    @checkpoint(name="ordered", version="1")
    def ordered(upwards: bool) -> pl.DataFrame:  # noqa: FBT001 - what is asked for
        return pl.DataFrame({"n": [1, 2] if upwards else [2, 1]})

    with run(store=path):
        ordered(True)
        ordered(False)
    done = call("diff", "ordered", "--store", path)
    assert done.exit_code == 0
    *_, rows, results = done.output.splitlines()
    assert rows == "nothing differs"
    assert results.startswith("yet they are not equal: rows")
    found = call_json("diff", "ordered", "--store", path)
    assert found["is_same"]
    assert found["a"]["content"] != found["b"]["content"]


def test_a_sample_says_so(store: Path, call: Call, call_json: CallJson) -> None:
    """Where not all rows are compared the first lines say how many are."""
    assert (
        "a sample: about 33.3% of the rows"
        in call("diff", NAME, "--sample", 1, "--store", store).output
    )
    shown = call_json("diff", NAME, "--sample", 1, "--store", store, code=4)
    assert round(shown["sampled_share"], 2) == 0.33


def test_one_result_alone(store: Path, call: Call, call_json: CallJson) -> None:
    """Where there is nothing to compare with, that is absence, with what to look at."""
    older = call_json("show", NAME, "--store", store)["entries"][1]["key"]
    call("forget", NAME, "--key", older, "--yes", "--store", store)
    done = call("diff", NAME, "--store", store)
    assert done.exit_code == 3
    assert "nothing is stored from before" in done.stderr
