"""Where an override may go, by what the file states and what the model has."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import pytest
from pydantic import BaseModel, Field

from usher_pipeline.config.overrides import Place
from usher_pipeline.errors import UnknownSettingError


class Limits(BaseModel):
    """A section of a section."""

    rows: int = 1


class Model(BaseModel):
    """A model with every kind of field that an override may have to pass."""

    plain: Limits = Limits()
    maybe: Limits | None = None
    old_maybe: Optional[Limits] = None  # noqa: UP045 - users write it, too
    noted: Annotated[Limits, Field()] = Limits()
    either: Annotated[Limits | str, Field()] = ""
    free: dict[str, int] = {}
    many: list[Limits] = []
    spoken: int = Field(default=0, alias="written")


def put(values: Any, path: str, value: Any) -> Any:
    """Return the values after an override."""
    Place(path, "here").put(values, Model, value)
    return values


@pytest.mark.parametrize("name", ["plain", "maybe", "old_maybe", "noted", "either"])
def test_a_field_of_a_section_is_found_in_its_type(name: str) -> None:
    """Optional, annotated and alternative sections are looked into."""
    assert put({}, f"{name}.rows", 2) == {name: {"rows": 2}}
    with pytest.raises(UnknownSettingError, match=rf"Did you mean '{name}\.rows'"):
        put({}, f"{name}.row", 2)


def test_a_mapping_takes_any_name() -> None:
    """A field that is a mapping by its type takes new names."""
    assert put({}, "free.anything", 2) == {"free": {"anything": 2}}
    assert put({}, "free", {"anything": 2}) == {"free": {"anything": 2}}


def test_an_item_of_a_list_is_found_in_the_values() -> None:
    """An item that is there can be overridden; one that is not can not be added."""
    assert put({"many": [{"rows": 1}]}, "many.0.rows", 2) == {"many": [{"rows": 2}]}
    with pytest.raises(UnknownSettingError, match=r"Did you mean 'many\.0'"):
        put({"many": [{"rows": 1}]}, "many.1", {})


def test_a_field_with_an_alias_goes_by_it() -> None:
    """A field that a file writes under an alias is overridden under the alias."""
    assert put({}, "written", 2) == {"written": 2}
    with pytest.raises(UnknownSettingError, match="'spoken' was not found"):
        put({}, "spoken", 2)


def test_a_section_that_the_file_spoils_is_left_to_the_model() -> None:
    """Where the file has a text in place of a section, nothing can be set below it."""
    with pytest.raises(UnknownSettingError, match=r"'plain\.rows' was not found in here"):
        put({"plain": "text"}, "plain.rows", 2)


def test_a_section_given_whole_is_looked_through() -> None:
    """A name deep in a section that is given whole is checked as well."""
    assert put({}, "plain", {"rows": 2}) == {"plain": {"rows": 2}}
    with pytest.raises(UnknownSettingError, match=r"'plain\.row' was not found"):
        put({}, "plain", {"row": 2})
