"""The models: names, bounds, defaults, the sum of the weights and the hash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, PrivateAttr, SecretStr, ValidationError

from usher_pipeline.config.schema import (
    APIConfig,
    DataSourceVersions,
    PipelineConfig,
    ScoringWeights,
)

VERSIONS: Final = {"ensembl_release": 113}


def config(**fields: Any) -> PipelineConfig:
    """Return a config below the working folder."""
    stated = {"data_dir": "d", "cache_dir": "c", "duckdb_path": "p.duckdb", **fields}
    return PipelineConfig.model_validate({"versions": VERSIONS} | stated)


def test_every_default_is_the_specified_one() -> None:
    """What a config does not state has the default of the specification."""
    made = config()
    assert made.versions.model_dump() == {
        "ensembl_release": 113,
        "gnomad_version": "v4.1",
        "gtex_version": "v8",
        "hpa_version": "23.0",
    }
    assert made.api.model_dump() == {
        "rate_limit_per_second": 5,
        "max_retries": 5,
        "cache_ttl_seconds": 86400,
        "timeout_seconds": 30,
    }
    assert made.scoring.model_dump() == {
        "gnomad": 0.20,
        "expression": 0.20,
        "annotation": 0.15,
        "localization": 0.15,
        "animal_model": 0.15,
        "literature": 0.15,
    }


@pytest.mark.parametrize("name", ["data_dir", "cache_dir", "duckdb_path", "versions"])
def test_a_missing_field_is_an_error(name: str) -> None:
    """The folders, the database and the versions have no default."""
    stated: dict[str, object] = {"data_dir": "d", "cache_dir": "c", "duckdb_path": "p"}
    stated["versions"] = VERSIONS
    del stated[name]
    with pytest.raises(ValidationError, match=rf"{name}\n  Field required"):
        PipelineConfig.model_validate(stated)


def test_the_ensembl_release_is_required() -> None:
    """The release of Ensembl has no default."""
    with pytest.raises(ValidationError, match=r"ensembl_release\n  Field required"):
        DataSourceVersions.model_validate({})


BOUNDS: Final = [
    (DataSourceVersions, "ensembl_release", 100, None),
    (APIConfig, "rate_limit_per_second", 1, None),
    (APIConfig, "max_retries", 1, 20),
    (APIConfig, "cache_ttl_seconds", 0, None),
    (APIConfig, "timeout_seconds", 1, None),
    *((ScoringWeights, name, 0, 1) for name in ScoringWeights.model_fields),
]


@pytest.mark.parametrize(("model", "name", "low", "high"), BOUNDS)
def test_a_bound_is_part_of_the_range(
    model: type[BaseModel], name: str, low: int, high: int | None
) -> None:
    """A value at a bound is taken, one beyond it is refused."""
    for value in (low, low if high is None else high):
        assert getattr(model.model_validate({**VERSIONS, name: value}), name) == value
    with pytest.raises(ValidationError, match=f"{name}\n  Input should be greater than or eq"):
        model.model_validate({**VERSIONS, name: low - 1})
    if high is not None:
        with pytest.raises(ValidationError, match=f"{name}\n  Input should be less than or eq"):
            model.model_validate({**VERSIONS, name: high + 1})


def test_a_weight_is_a_number() -> None:
    """A weight that is not a number in the range is refused, NaN included."""
    with pytest.raises(ValidationError, match="gnomad"):
        ScoringWeights(gnomad=float("nan"))


def test_the_folders_are_created() -> None:
    """Validation creates the data folder and the cache folder, parents included."""
    made = config(data_dir="deep/data", cache_dir="deep/cache")
    assert made.data_dir.is_dir()
    assert made.cache_dir.is_dir()
    assert not made.duckdb_path.exists()


def test_folders_that_exist_are_kept(tmp_path: Path) -> None:
    """A folder that exists stays as it is."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "genes.tsv").write_text("GENE", "utf-8")
    assert (config().data_dir / "genes.tsv").read_text("utf-8") == "GENE"


def test_a_refused_config_creates_nothing(tmp_path: Path) -> None:
    """Folders are created once every value is good."""
    values = {
        "data_dir": tmp_path / "data",
        "cache_dir": tmp_path / "cache",
        "duckdb_path": tmp_path / "store.duckdb",
        "versions": {"ensembl_release": 9},
    }
    with pytest.raises(ValidationError, match="ensembl_release"):
        PipelineConfig.model_validate(values)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_created_is_a_bad_value(tmp_path: Path) -> None:
    """Where a file is in the way, the field is told, as for any bad value."""
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ValidationError, match=r"data_dir\n  .*the folder can not be created"):
        config(data_dir="file")


def test_the_paths_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three paths are `Path`s; relative ones stay so, and `~` is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = config(data_dir="~/data", cache_dir=tmp_path / "cache", duckdb_path="~/s.duckdb")
    assert made.data_dir == tmp_path / "home" / "data"
    assert made.data_dir.is_dir()
    assert made.cache_dir == tmp_path / "cache"
    assert made.duckdb_path == tmp_path / "home" / "s.duckdb"
    assert config().duckdb_path == Path("p.duckdb")
    assert config(duckdb_path="~s-t/s").duckdb_path == Path("~s-t/s")


# --- the sum of the weights -------------------------------------------------------------


@pytest.mark.parametrize("off", [0.0, 5e-7, -5e-7])
def test_weights_that_add_up_are_fine(off: float) -> None:
    """Weights that add up to 1.0 within 1e-6 are accepted."""
    weights = ScoringWeights(gnomad=0.2 + off)
    weights.validate_sum()
    assert sum(weights.model_dump().values()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("off", [2e-6, -2e-6, 0.3])
def test_weights_that_do_not_add_up_are_an_error(off: float) -> None:
    """Weights that miss 1.0 by more than 1e-6 are an error which shows them all."""
    weights = ScoringWeights(gnomad=0.2 + off)
    with pytest.raises(ValueError, match=r"add up to .*, expected 1\.0 .*literature 0\.15"):
        weights.validate_sum()


def test_a_weight_of_the_users_own_counts() -> None:
    """A weight that a user added is part of the sum; what is no number is not."""
    extra = {"proteomics": 0.1, "literature": 0.05, "note": "x", "final": True}
    ScoringWeights.model_validate(extra).validate_sum()
    with pytest.raises(ValueError, match=r"add up to 0\.9.*literature 0\.05"):
        ScoringWeights.model_validate(extra | {"proteomics": 0.0}).validate_sum()


# --- fields of one's own ----------------------------------------------------------------


class PlantVersions(BaseModel):
    """The sources of another field of study."""

    tair_release: int
    phytozome_version: str = "v13"


class PlantConfig(PipelineConfig):
    """A config with other sources, a field more and something private."""

    versions: PlantVersions  # type: ignore[assignment] # other fields, on purpose
    species: str = "thale cress"
    _client: object = PrivateAttr(default=None)


def plants(**fields: Any) -> PlantConfig:
    """Return a config of the subclass."""
    stated = {"data_dir": "d", "cache_dir": "c", "duckdb_path": "p", **fields}
    return PlantConfig.model_validate({"versions": {"tair_release": 10}} | stated)


def test_a_subclass_has_versions_of_its_own() -> None:
    """A subclass states other sources, and its hash counts them."""
    assert plants().versions.tair_release == 10
    other = plants(versions={"tair_release": 11})
    assert plants().config_hash() != other.config_hash()
    assert plants().config_hash() != plants(species="rice").config_hash()


@pytest.mark.parametrize("section", ["", "versions", "api", "scoring"])
def test_a_field_that_nobody_knows_stays(section: str) -> None:
    """A user's own field is kept at any level, and its hash counts it."""
    own: dict[str, object] = {"mine": {"a": [1]}}
    made = config(**({section: {**VERSIONS, **own}} if section else own))
    holder: Any = getattr(made, section) if section else made
    assert holder.mine == {"a": [1]}
    assert made.config_hash() != config().config_hash()


# --- the hash ---------------------------------------------------------------------------

LEAVES: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.dates()
)
NESTED: Final = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(first: Any, second: Any) -> bool:
    """Tell whether two values are one, type by type; the order of keys aside."""
    if type(first) is not type(second):
        return False
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            same(value, second[key]) for key, value in first.items()
        )
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return repr(first) == repr(second)


def test_the_hash_is_sha256() -> None:
    """The hash is the hexadecimal text of a SHA-256."""
    digest = config().config_hash()
    assert len(digest) == 64
    assert int(digest, 16) >= 0


@given(NESTED, NESTED)
def test_hashes_agree_exactly_when_the_values_do(first: Any, second: Any) -> None:
    """Equal values have equal hashes, and different ones have not."""
    one, other = config(mine=first), config(mine=second)
    assert same(first, second) == (one.config_hash() == other.config_hash())
    assert one.config_hash() == config(mine=first).config_hash()


def leaves(data: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every leaf of nested dicts."""
    found: list[tuple[str, ...]] = []
    for key, value in data.items():
        found += leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]
    return found


def test_every_single_leaf_counts() -> None:
    """A change of any one value changes the hash."""
    before = config()
    paths = leaves(before.model_dump())
    assert len(paths) == 17
    hashes = {before.config_hash()}
    for path in paths:
        changed = before.model_copy(deep=True)
        holder: Any = changed
        for name in path[:-1]:
            holder = getattr(holder, name)
        old = getattr(holder, path[-1])
        setattr(holder, path[-1], Path("other") if isinstance(old, Path) else f"{old}?")
        hashes.add(changed.config_hash())
    assert len(hashes) == len(paths) + 1


def test_the_order_of_keys_does_not_count() -> None:
    """The order in which a config states its values changes nothing."""
    assert config(a=1, b=2).config_hash() == config(b=2, a=1).config_hash()


def test_a_stated_default_does_not_count() -> None:
    """Whether a value was stated or is the default changes nothing."""
    stated = config(api={"timeout_seconds": 30})
    assert stated.config_hash() == config().config_hash()


def test_private_attributes_do_not_count() -> None:
    """What a model keeps in private is no value of the config."""
    one = plants()
    one._client = object()
    assert one.config_hash() == plants().config_hash()


def test_a_secret_does_not_count() -> None:
    """A new password changes no hash, and can not be guessed from one."""
    hashes = {config(token=SecretStr(word)).config_hash() for word in ("a", "b")}
    assert len(hashes) == 1
    assert config(token=None).config_hash() not in hashes


PROGRAM: Final = """
from datetime import date
from usher_pipeline.config import PipelineConfig
print(PipelineConfig(
    data_dir="d", cache_dir="c", duckdb_path="p.duckdb", versions={"ensembl_release": 113},
    mine={"b": {"x", "y", "z"}, "a": [1.5, date(2026, 2, 16)]},
).config_hash())
"""


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_hash_is_the_same_in_every_process(seed: str) -> None:
    """A new process with another seed for hashes comes to the same hash."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == (
        "af395cec47b5598633dbc12ea2c0e5aa16f98aa384b3ab49d4e3a7d5d712b4c4"
    )
