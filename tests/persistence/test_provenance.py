"""Where results come from: steps, sidecars and the table that keeps them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import usher_pipeline
from usher_pipeline.config import load_config
from usher_pipeline.errors import ProvenanceError, StoreError
from usher_pipeline.persistence import PipelineStore, ProvenanceTracker
from usher_pipeline.persistence.provenance import sidecar_path

if TYPE_CHECKING:
    from usher_pipeline.config import PipelineConfig


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """A config read from a real file."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"data_dir: {tmp_path}/data\ncache_dir: {tmp_path}/cache\n"
        f"duckdb_path: {tmp_path}/store.duckdb\nversions:\n  ensembl_release: 113\n"
    )
    return load_config(path)


def test_a_tracker_keeps_version_config_and_time(config: PipelineConfig) -> None:
    """It holds the pipeline's version, the config's hash and versions, and when it began."""
    tracker = ProvenanceTracker("2.3", config)
    assert tracker.pipeline_version == "2.3"
    assert tracker.config_hash == config.config_hash()
    assert tracker.data_source_versions == {
        "ensembl_release": 113,
        "gnomad_version": "v4.1",
        "gtex_version": "v8",
        "hpa_version": "23.0",
    }
    assert tracker.processing_steps == []
    assert tracker.created_at.tzinfo is UTC


def test_what_is_handed_out_is_a_copy(config: PipelineConfig) -> None:
    """Neither what was given nor what was handed out reaches the tracker afterwards."""
    tracker = ProvenanceTracker.from_config(config)
    details: dict[str, Any] = {"kept": [1]}
    tracker.record_step("filter", details)
    details["kept"].append(2)
    tracker.get_steps()[0]["details"]["kept"].append(3)
    metadata = tracker.create_metadata()
    metadata["processing_steps"][0]["details"]["kept"].append(4)
    metadata["data_source_versions"].clear()
    assert tracker.get_steps()[0]["details"] == {"kept": [1]}
    assert tracker.data_source_versions["ensembl_release"] == 113


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"rows": np.int64(3)}, r"got numpy.int64 at details\['rows'\]"),
        ({"out": [1, Path("a")]}, r"Path at details\['out'\]\[1\]"),
        ({"at": {"day": datetime(2026, 1, 1, tzinfo=UTC)}}, r"\['at'\]\['day'\]"),
        ({(1, 2): 3}, "got tuple at a key of details"),
    ],
)
def test_details_that_json_can_not_hold_are_refused(
    config: PipelineConfig, details: Any, said: str
) -> None:
    """The error names the place and the type at once, and nothing is recorded."""
    tracker = ProvenanceTracker.from_config(config)
    with pytest.raises(ProvenanceError, match=said) as caught:
        tracker.record_step("filter", details)
    assert isinstance(caught.value, TypeError)
    assert tracker.get_steps() == []


def test_the_version_is_detected_unless_given(config: PipelineConfig) -> None:
    """`from_config` takes the version of this package, or the one that is given."""
    assert ProvenanceTracker.from_config(config).pipeline_version == usher_pipeline.__version__
    assert ProvenanceTracker.from_config(config, "9").pipeline_version == "9"


def test_steps_bear_name_time_and_details(config: PipelineConfig) -> None:
    """A step has its name, an ISO 8601 time in UTC and, only if given, details."""
    tracker = ProvenanceTracker.from_config(config)
    tracker.record_step("download")
    tracker.record_step("filter", {"kept": 7})
    first, second = tracker.get_steps()
    assert first.keys() == {"step_name", "timestamp"}
    moment = datetime.fromisoformat(first["timestamp"])
    assert moment.utcoffset() is not None
    assert moment.tzname() == "UTC"
    assert (second["step_name"], second["details"]) == ("filter", {"kept": 7})


def test_metadata_has_the_five_fields(config: PipelineConfig) -> None:
    """`create_metadata` gives plain data with all that is known."""
    tracker = ProvenanceTracker.from_config(config)
    tracker.record_step("download")
    metadata = tracker.create_metadata()
    assert metadata.keys() >= {
        "pipeline_version",
        "data_source_versions",
        "config_hash",
        "created_at",
        "processing_steps",
    }
    assert json.loads(json.dumps(metadata)) == metadata


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_the_sidecar_lies_beside_the_output(
    config: PipelineConfig, tmp_path: Path, kind: type
) -> None:
    """`genes.parquet` gets `genes.provenance.json`: whole lines, indented; it reads back."""
    tracker = ProvenanceTracker.from_config(config)
    tracker.record_step("download", {"rows": 3})
    tracker.save_sidecar(kind(tmp_path / "out" / "genes.parquet"))
    path = tmp_path / "out" / "genes.provenance.json"
    assert path.read_text().startswith('{\n  "pipeline_version"')
    assert path.read_text().endswith("\n}\n")
    assert ProvenanceTracker.load_sidecar(path) == tracker.create_metadata()
    assert [file.name for file in path.parent.iterdir()] == ["genes.provenance.json"]


def test_names_with_dots_keep_them() -> None:
    """Only the last ending of an output is replaced."""
    assert sidecar_path("genes.v1.parquet").name == "genes.v1.provenance.json"
    assert sidecar_path("genes").name == "genes.provenance.json"


def test_what_is_no_sidecar_is_refused(tmp_path: Path) -> None:
    """A JSON file that holds no object is a clear error."""
    path = tmp_path / "x.provenance.json"
    path.write_text("[1]")
    with pytest.raises(ValueError, match="expected a JSON object, got list"):
        ProvenanceTracker.load_sidecar(path)


def test_a_sidecar_that_can_not_be_written_is_an_error(
    config: PipelineConfig, tmp_path: Path
) -> None:
    """When the folder is a file, the error says so."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the provenance can not be written"):
        ProvenanceTracker.from_config(config).save_sidecar(tmp_path / "file" / "x.parquet")


def test_a_provenance_is_a_row_of_the_store(config: PipelineConfig) -> None:
    """`save_to_store` adds a row whose first four columns existing pipelines read."""
    tracker = ProvenanceTracker.from_config(config, "1.0")
    tracker.record_step("download")
    with PipelineStore.from_config(config) as store:
        tracker.save_to_store(store)
        tracker.save_to_store(store)
        frame = store.execute_query("SELECT * FROM _provenance")
    assert frame.columns[:4] == ["version", "config_hash", "created_at", "steps_json"]
    assert frame.height == 2
    version, config_hash, created_at, steps = frame.row(0)[:4]
    assert (version, config_hash) == ("1.0", config.config_hash())
    assert created_at == tracker.created_at.replace(tzinfo=None)
    assert json.loads(steps) == tracker.get_steps()
