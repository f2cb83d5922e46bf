"""A variable is read quickly, and is what `os.environ` says at that moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from usher_pipeline.config import environment
from usher_pipeline.config.environment import is_off, is_set, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "USHER_TEST_VARIABLE"


@pytest.fixture(params=[True, False], ids=["quick", "plain"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look where CPython holds the variables, and on a Python that holds them elsewhere."""
    assert environment._variables is not None
    if not request.param:
        monkeypatch.setattr(environment, "_variables", None)
    yield
    os.environ.pop(NAME, None)


@pytest.mark.usefixtures("_way")
def test_every_way_to_set_it_is_seen() -> None:
    """A variable that is set, changed, put or deleted is seen at the next look."""
    assert variable(NAME) == ""
    for value in ("a", "ä b", ""):
        os.environ[NAME] = value
        assert variable(NAME) == value
    os.environ.update({NAME: "c"})
    assert variable(NAME) == "c"
    os.environb[NAME.encode()] = b"d"
    assert variable(NAME) == "d"
    del os.environ[NAME]
    assert variable(NAME) == ""


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("value", "expected"), [("", False), ("0", False), ("1", True), ("no", True)]
)
def test_what_says_yes(value: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """Anything but nothing and zero says yes."""
    os.environ[NAME] = value
    assert is_set(NAME) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", True), ("false", True), ("No", True), (" OFF ", True), ("", False), ("1", False)],
)
@pytest.mark.usefixtures("_way")
def test_what_says_no(value: str, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """`0`, `false`, `no` and `off` say no; what is empty or not set does not."""
    assert not is_off(NAME)
    os.environ[NAME] = value
    assert is_off(NAME) is expected
