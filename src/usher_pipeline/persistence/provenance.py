"""Where results come from: the steps of a pipeline, and how they are kept."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from usher_pipeline._version import __version__
from usher_pipeline.errors import ProvenanceError, StoreError
from usher_pipeline.persistence.entries import write_json
from usher_pipeline.records import Step, utc_now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from usher_pipeline.persistence.duckdb_store import PipelineStore

__all__ = ["Configured", "ProvenanceTracker", "sidecar_path"]


class Configured(Protocol):
    """A config as far as a provenance needs it."""

    def config_hash(self) -> str:
        """Return a digest of every value."""


class ProvenanceTracker:
    """The steps of one pipeline, with the version and the config that they ran under.

    Args:
        pipeline_version: The version of the pipeline's code.
        config: The config in force; its `versions` are the data source versions.

    Attributes:
        pipeline_version: As given.
        config_hash: The digest of every config value.
        data_source_versions: Source → version.
        processing_steps: The steps so far, as plain data.
        created_at: When the tracker was made (UTC).

    >>> tracker = ProvenanceTracker("1.0", None)
    >>> tracker.record_step("download", {"rows": 3})
    >>> [step["step_name"] for step in tracker.get_steps()]
    ['download']
    """

    def __init__(self, pipeline_version: str, config: Configured | None) -> None:
        self.pipeline_version = pipeline_version
        self.config_hash = config.config_hash() if config is not None else ""
        self.data_source_versions = _versions(config)
        self.processing_steps: list[dict[str, Any]] = []
        self.created_at: datetime = utc_now()

    @classmethod
    def from_config(cls, config: Configured, version: str | None = None) -> ProvenanceTracker:
        """Return a tracker for a config.

        Args:
            config: The config in force.
            version: The version of the pipeline; that of this library unless given.
        """
        return cls(__version__ if version is None else version, config)

    def record_step(self, step_name: str, details: Mapping[str, Any] | None = None) -> None:
        """Append a step that happened now.

        Args:
            step_name: What was done.
            details: More facts; plain data that JSON can hold.

        Raises:
            ProvenanceError: JSON can not hold the details; it is a `TypeError` as well.
        """
        try:
            json.dumps(details)
        except (TypeError, ValueError) as problem:
            path, value = _no_json(details, "details") or ("details", details)
            kind = type(value)
            type_name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
            raise ProvenanceError(step_name, path, type_name) from problem
        self.append(Step(step_name, utc_now(), details))

    def append(self, step: Step) -> None:
        """Append a step with the time at which its work was really done."""
        self.processing_steps.append(deepcopy(step.to_json()))

    def get_steps(self) -> list[dict[str, Any]]:
        """Return the steps so far; what is done to them does not reach the tracker."""
        return deepcopy(self.processing_steps)

    def create_metadata(self) -> dict[str, Any]:
        """Return all that is known, as plain data."""
        return {
            "pipeline_version": self.pipeline_version,
            "data_source_versions": deepcopy(self.data_source_versions),
            "config_hash": self.config_hash,
            "created_at": self.created_at.isoformat(),
            "processing_steps": self.get_steps(),
        }

    def save_sidecar(self, output_path: Path | str) -> Path:
        """Write the provenance as JSON beside an output.

        Args:
            output_path: The output; ``genes.parquet`` gets ``genes.provenance.json``.

        Returns:
            The path of the sidecar.
        """
        return write_sidecar(output_path, self.create_metadata())

    @staticmethod
    def load_sidecar(sidecar_path: Path | str) -> dict[str, Any]:
        """Return the provenance in a sidecar.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file holds no JSON object.
        """
        data = json.loads(Path(sidecar_path).read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError(  # noqa: TRY004 - the content is wrong, not the argument
                f"{sidecar_path} is no provenance: expected a JSON object, got "
                f"{type(data).__name__}. Nothing was changed. Give the path of a sidecar."
            )
        return data

    def save_to_store(self, store: PipelineStore) -> None:
        """Add the provenance as a row to the table `_provenance` of a store."""
        metadata = self.create_metadata()
        store.insert_provenance(
            version=self.pipeline_version,
            config_hash=self.config_hash,
            created_at=self.created_at,
            steps=self.get_steps(),
            metadata=metadata,
        )


def _no_json(value: Any, path: str) -> tuple[str, Any] | None:
    """Return the first value that JSON has no form for, and where it is; None for none."""
    if isinstance(value, dict):
        keys = [key for key in value if not isinstance(key, (str, int, float, type(None)))]
        if keys:
            return f"a key of {path}", keys[0]
        children = [(f"{path}[{key!r}]", child) for key, child in value.items()]
    elif isinstance(value, (list, tuple)):
        children = [(f"{path}[{position}]", child) for position, child in enumerate(value)]
    else:
        is_plain = value is None or isinstance(value, (str, int, float))
        return None if is_plain else (path, value)
    return next((found for at, child in children if (found := _no_json(child, at))), None)


def described(config: Configured | None) -> tuple[str, dict[str, Any]]:
    """Return the hash of a config and the versions of its sources; empty without one."""
    has_hash = callable(getattr(config, "config_hash", None))
    return (config.config_hash() if config is not None and has_hash else ""), _versions(config)


def _versions(config: Configured | None) -> dict[str, Any]:
    stated = getattr(config, "versions", None)
    if stated is None:
        sources = getattr(config, "sources", None)
        found = sources() if callable(sources) else {}
        return {name: setting.value for name, setting in found.items()}
    plain = stated.model_dump(mode="json") if hasattr(stated, "model_dump") else dict(stated)
    return dict(plain)


def sidecar_path(output_path: Path | str) -> Path:
    """Return where the provenance of an output lies.

    >>> sidecar_path("out/genes.parquet").name
    'genes.provenance.json'
    """
    return Path(output_path).with_suffix(".provenance.json")


def write_sidecar(output_path: Path | str, metadata: Mapping[str, Any]) -> Path:
    """Write a provenance beside an output; return its path.

    Raises:
        StoreError: The provenance can not be written there.
    """
    path = sidecar_path(output_path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, metadata, indent=2, mode=0o644)
    except OSError as problem:
        raise StoreError(path, f"the provenance can not be written: {problem}") from problem
    return path
