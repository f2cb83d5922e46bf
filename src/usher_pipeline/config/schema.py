"""The models of the pipeline's config, for pydantic v2.

The only module that knows sources by name. Fields that a user adds are kept, and a
subclass may state others.
"""

from __future__ import annotations

import os
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from usher_pipeline.config.canonical import digest, plain
from usher_pipeline.config.values import Loaded

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "APIConfig",
    "DataSourceVersions",
    "PipelineConfig",
    "ScoringWeights",
    "validated",
]

_SUM_TOLERANCE: Final = 1e-6


class DataSourceVersions(BaseModel):
    """Which release of each source is used.

    Attributes:
        ensembl_release: Release number of Ensembl, from 100 on.
        gnomad_version: Version of gnomAD.
        gtex_version: Version of GTEx.
        hpa_version: Version of the Human Protein Atlas.
    """

    model_config = ConfigDict(extra="allow")

    ensembl_release: int = Field(ge=100)
    gnomad_version: str = "v4.1"
    gtex_version: str = "v8"
    hpa_version: str = "23.0"


class APIConfig(BaseModel):
    """How the pipeline behaves toward web services.

    Attributes:
        rate_limit_per_second: Requests in each second, at least 1.
        max_retries: How often a failed request is tried again, 1 to 20.
        cache_ttl_seconds: How long an answer may be reused, in seconds.
        timeout_seconds: How long to wait for an answer, in seconds, at least 1.
    """

    model_config = ConfigDict(extra="allow")

    rate_limit_per_second: int = Field(default=5, ge=1)
    max_retries: int = Field(default=5, ge=1, le=20)
    cache_ttl_seconds: int = Field(default=86400, ge=0)
    timeout_seconds: int = Field(default=30, ge=1)


class ScoringWeights(BaseModel):
    """How much each layer of evidence counts; each weight in 0..1.

    Attributes:
        gnomad: Constraint of the gene in the population.
        expression: Expression in the tissues of interest.
        annotation: How much is known of the gene.
        localization: Where the protein is in the cell.
        animal_model: Phenotypes of animal models.
        literature: What has been published.
    """

    model_config = ConfigDict(extra="allow")

    gnomad: float = Field(default=0.20, ge=0, le=1)
    expression: float = Field(default=0.20, ge=0, le=1)
    annotation: float = Field(default=0.15, ge=0, le=1)
    localization: float = Field(default=0.15, ge=0, le=1)
    animal_model: float = Field(default=0.15, ge=0, le=1)
    literature: float = Field(default=0.15, ge=0, le=1)

    def validate_sum(self) -> None:
        """Check that the weights add up to 1, those that a user added included.

        Raises:
            ValueError: They do not, by more than 1e-6.

        >>> ScoringWeights().validate_sum()
        """
        weights = {name: value for name, value in self if _is_number(value)}
        total = fsum(weights.values())
        if not abs(total - 1) <= _SUM_TOLERANCE:
            stated = ", ".join(f"{name} {value}" for name, value in weights.items())
            raise ValueError(
                f"The scoring weights add up to {total:.6f}, expected 1.0 ± 1e-6 ({stated})."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class PipelineConfig(BaseModel):
    """Everything that a pipeline is told from outside.

    Relative paths are relative to the working folder; ``~`` is the home folder.

    Attributes:
        data_dir: Folder of the pipeline's data; created on validation.
        cache_dir: Folder of downloads and the like; created on validation.
        duckdb_path: Database of the store.
        versions: Which release of each source is used.
        api: How the pipeline behaves toward web services.
        scoring: How much each layer of evidence counts.
    """

    model_config = ConfigDict(extra="allow")

    data_dir: Path
    cache_dir: Path
    duckdb_path: Path
    versions: DataSourceVersions
    api: APIConfig = Field(default_factory=APIConfig)
    scoring: ScoringWeights = Field(default_factory=ScoringWeights)

    _loaded: Loaded = PrivateAttr(default_factory=Loaded)

    @field_validator("duckdb_path", "data_dir", "cache_dir")
    @classmethod
    def _at_home(cls, path: Path) -> Path:
        return Path(os.path.expanduser(path))  # noqa: PTH111 - `~stranger` is a name

    @model_validator(mode="after")
    def _with_folders(self) -> Self:
        # Once all values are good: a config that is refused leaves nothing on the disk.
        for name in ("data_dir", "cache_dir"):
            folder: Path = getattr(self, name)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                text = f"the folder can not be created: {problem}"
                details: Any = {"type": "value_error", "loc": (name,), "input": folder}
                details["ctx"] = {"error": ValueError(text)}
                title = type(self).__name__
                raise ValidationError.from_exception_data(title, [details]) from problem
        return self

    def config_hash(self) -> str:
        """Return a digest of every value, the same in every process.

        It is the SHA-256 of the values as canonical JSON: fields, fields that a user
        added, defaults; no private attributes, and secrets only by their presence.
        """
        return digest(self)


ConfigT = TypeVar("ConfigT", bound=PipelineConfig)


def validated(
    model: type[ConfigT], values: Mapping[str, Any], origins: Mapping[str, str]
) -> ConfigT:
    """Return the config that values make, which remembers where they were stated.

    Raises:
        pydantic.ValidationError: A value is missing or bad; a note names its origin.
    """
    try:
        config = model.model_validate(values)
    except ValidationError as problem:
        for error in problem.errors(
            include_url=False, include_context=False, include_input=False
        ):
            path = ".".join(map(str, error["loc"]))
            if path in origins:
                problem.add_note(f"{path}: {origins[path]}")
        raise
    config._loaded = Loaded(origins, plain(config))  # noqa: SLF001 - ours, and no value
    return config
