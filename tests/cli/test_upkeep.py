"""`usher forget`, `pin`, `prune`, `compact`, `verify`, `accept`: what they change, and ask."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest

from usher_pipeline import checkpoint, run
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call, CallJson

NAME = "cli größe 🧬"


@checkpoint(name="whole")
def whole() -> dict[str, pl.DataFrame]:
    """Return two frames."""
    return {"a": pl.DataFrame({"x": [1]}), "b": pl.DataFrame({"y": [2, 3]})}


def keys_in(store: Path, name: str = NAME) -> list[str]:
    """Return the keys of a name, newest first."""
    return [entry.key.digest for entry in LocalBackend(store).recent(name, None)]


# --- forget -----------------------------------------------------------------------------


def test_forget_removes_a_name_and_its_table(store: Path, call: Call) -> None:
    """With --yes all that is stored under a name goes; other names stay."""
    done = call("forget", NAME, "--yes", "--store", store)
    assert done.output == f"gone: 2 results of {NAME}, its table, and all else of it\n"
    with PipelineStore(store) as opened:
        assert [row["table_name"] for row in opened.list_checkpoints()] == ["by_hand"]
    assert keys_in(store) == []


def test_forget_removes_one_result(store: Path, call: Call) -> None:
    """With --key that result goes, and the others stay."""
    newer, older = keys_in(store)
    assert call("forget", NAME, "--key", newer[:10], "-y", "--store", store).exit_code == 0
    assert keys_in(store) == [older]


def test_forget_takes_the_frames_of_a_dictionary_along(tmp_path: Path, call: Call) -> None:
    """Of a result of several frames all parts go."""
    path = tmp_path / "s.duckdb"
    with run(store=path):
        whole()
    assert call("forget", "whole", "--yes", "--store", path).exit_code == 0
    assert LocalBackend(path).names() == []


def test_forget_removes_a_table(store: Path, call: Call) -> None:
    """A table that was saved by hand goes like a result."""
    assert call("forget", "by_hand", "--yes", "--store", store).exit_code == 0
    with PipelineStore(store) as opened:
        assert not opened.has_checkpoint("by_hand")


@pytest.mark.parametrize(
    "arguments", [["nix"], [NAME, "--key", "zz"], ["by_hand", "--key", "a"]]
)
def test_what_is_not_there_can_not_go(store: Path, call: Call, arguments: list[str]) -> None:
    """An unknown name or key is absence, and nothing goes."""
    assert call("forget", *arguments, "--yes", "--store", store).exit_code == 3
    assert len(keys_in(store)) == 2


def test_a_dry_run_removes_nothing(store: Path, call: Call, call_json: CallJson) -> None:
    """With --dry-run it is only said what would go."""
    done = call("forget", NAME, "--dry-run", "--store", store)
    assert done.output.startswith("would go: 2 results")
    keys = keys_in(store)
    assert call_json("forget", NAME, "--dry-run", "--store", store)["keys"] == keys
    assert len(keys) == 2


def test_after_a_no_nothing_goes(store: Path, call: Call) -> None:
    """It shows what would go and asks; a no ends it with exit code 1."""
    done = call("forget", NAME, "--store", store, answer="n\n")
    assert done.exit_code == 1
    assert "Remove 2 results" in done.stderr
    assert done.stderr.splitlines()[-1] == "hint: Nothing was done."
    assert len(keys_in(store)) == 2


def test_nobody_is_a_no(store: Path) -> None:
    """A script without a terminal, and without --yes, removes nothing and says why."""
    done = subprocess.run(
        [sys.executable, "-m", "usher_pipeline", "forget", "by_hand", "--store", str(store)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (1, "")
    # The error is a line of its own, behind the question.
    assert "usher: Nobody answered the question." in done.stderr.splitlines()
    with PipelineStore(store) as opened:
        assert opened.has_checkpoint("by_hand")


def test_a_yes_is_enough(store: Path, call: Call) -> None:
    """The answer may be typed."""
    assert call("forget", NAME, "--store", store, answer="y\n").exit_code == 0
    assert keys_in(store) == []


def test_a_result_is_named_twice(store: Path, call_json: CallJson) -> None:
    """Two beginnings of one key are one result."""
    newer, _ = keys_in(store)
    told = ("forget", NAME, "--key", newer[:10], "--key", newer, "--dry-run", "--store", store)
    assert call_json(*told)["keys"] == [newer]


# --- pin and unpin ----------------------------------------------------------------------


def test_what_is_pinned_is_not_pruned(store: Path, call: Call, call_json: CallJson) -> None:
    """A pinned result stays whatever is pruned, until it is unpinned."""
    newer, older = keys_in(store)
    assert call("pin", NAME, "--key", older[:9], "--store", store).output == (
        f"pinned: {NAME} {older[:12]}\n"
    )
    call("prune", NAME, "--yes", "--store", store)
    assert keys_in(store) == [newer, older]
    shown = call_json("show", NAME, "--store", store)["entries"]
    assert {each["key"]: each["is_pinned"] for each in shown} == {newer: False, older: True}
    assert call("unpin", NAME, "--key", older[:9], "--store", store).output == (
        f"unpinned: {NAME} {older[:12]}\n"
    )
    call("prune", NAME, "--yes", "--store", store)
    assert keys_in(store) == [newer]


def test_without_a_key_the_current_result_is_pinned(
    store: Path, call: Call, call_json: CallJson
) -> None:
    """It is what the name stands for; to say it again changes nothing and is no error."""
    newer, _ = keys_in(store)
    first, second = (call_json("pin", NAME, "--store", store) for _ in range(2))
    assert (first["key"], first["is_pinned"], first["was_pinned"]) == (newer, True, False)
    assert second == first | {"was_pinned": True}
    assert call("pin", NAME, "--store", store).output.startswith("pinned already: ")
    taken_back = call_json("unpin", NAME, "--store", store)
    assert (taken_back["is_pinned"], taken_back["was_pinned"]) == (False, True)
    assert call("unpin", NAME, "--store", store).output.startswith("not pinned: ")
    with PipelineStore(store) as opened:
        assert [each.pinned for each in opened.usage().names if each.name == NAME] == [()]


@pytest.mark.parametrize("command", ["pin", "unpin"])
@pytest.mark.parametrize("arguments", [["nix"], [NAME, "--key", "zz"], ["by_hand"]])
def test_what_is_not_there_can_not_be_pinned(
    store: Path, call: Call, command: str, arguments: list[str]
) -> None:
    """An unknown name or key is absence, and so is a table that no checkpoint made."""
    done = call(command, *arguments, "--store", store)
    assert done.exit_code == 3
    assert list(store.parent.rglob("*.pin")) == []


def test_a_result_that_only_the_database_has_is_pinned(
    store: Path, call_json: CallJson
) -> None:
    """Where the folder of results was lost the pin is kept for when they come back."""
    newer, _ = keys_in(store)
    shutil.rmtree(LocalBackend(store).segments.folder)
    assert call_json("pin", NAME, "--store", store)["key"] == newer
    assert LocalBackend(store).segments.pins(NAME) == {newer}


# --- prune ------------------------------------------------------------------------------


def test_prune_removes_what_nothing_needs(store: Path, call: Call) -> None:
    """All but the newest go, and what is current stays."""
    newer, _ = keys_in(store)
    done = call("prune", "--keep-latest", 0, "--yes", "--store", store)
    assert done.exit_code == 0
    assert done.output.startswith("1 results went")
    assert keys_in(store) == [newer]


def test_prune_asks(store: Path, call: Call, call_json: CallJson) -> None:
    """It shows what would go and asks; a dry run shows the same and does not ask."""
    done = call("prune", NAME, "--store", store, answer="n\n")
    assert done.exit_code == 1
    assert "1 results would go" in done.stderr
    shown = call_json("prune", NAME, "--dry-run", "--store", store)
    assert (shown["dry_run"], len(shown["results"])) == (True, 1)
    assert len(keys_in(store)) == 2


def test_prune_has_nothing_to_ask(store: Path, call: Call) -> None:
    """Where nothing would go there is no question."""
    done = call("prune", "--older-than", "1d", "--store", store)
    assert done.exit_code == 0
    assert done.output.startswith("0 results went")


@pytest.mark.parametrize(
    ("option", "stated", "said"),
    [
        ("--older-than", "7", "expected a time such as 12h, 30d or 2w"),
        ("--older-than", "999999999999w", "expected a time such as"),
        ("--keep-size", "5 bananas", "expected a size such as 500MB or 20GB"),
        ("--keep-size", f"{'9' * 400}GB", "expected a size such as 500MB or 20GB"),
        ("--keep-latest", "-1", "-1 is not in the range"),
    ],
)
def test_a_quantity_that_is_none(
    store: Path, call: Call, option: str, stated: str, said: str
) -> None:
    """What is no quantity is wrong usage, with what it can be."""
    done = call("prune", option, stated, "--store", store)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("stated", "size_bytes"), [("0", 0), ("1.5kB", 1500), ("2 GB", 2 * 10**9)]
)
def test_sizes(
    store: Path, monkeypatch: pytest.MonkeyPatch, call: Call, stated: str, size_bytes: int
) -> None:
    """Sizes have SI units."""
    from usher_pipeline.persistence import housekeeping

    asked = []
    real = housekeeping.prune

    def prune(backend: LocalBackend, criteria: object, *, dry_run: bool) -> object:
        asked.append(criteria)
        return real(backend, criteria, dry_run=dry_run)  # type: ignore[arg-type]

    monkeypatch.setattr(housekeeping, "prune", prune)
    call("prune", "--keep-size", stated, "--dry-run", "--store", store)
    assert [each.keep_bytes for each in asked] == [size_bytes]  # type: ignore[attr-defined]


def test_prune_of_an_unknown_name(store: Path, call: Call) -> None:
    """A slip in a name is absence, and not that nothing had to go."""
    done = call("prune", NAME, "nix", "--yes", "--store", store)
    assert done.exit_code == 3
    assert "it has no table 'nix'" in done.stderr
    assert len(keys_in(store)) == 2


def test_prune_wants_to_know_what(store: Path, call: Call) -> None:
    """Without any criterion it is wrong usage."""
    done = call("prune", "--store", store)
    assert done.exit_code == 2
    assert "Say what may go" in done.stderr


# --- compact and verify -----------------------------------------------------------------


def test_compact_says_what_it_won(store: Path, call_json: CallJson) -> None:
    """The sizes before and after are told; a small database is left as it is."""
    found = call_json("compact", "--store", store)
    assert found["before_bytes"] == store.stat().st_size
    assert (found["won_bytes"], found["is_swapped"]) == (0, False)


def test_verify_of_a_whole_store(store: Path, call: Call, call_json: CallJson) -> None:
    """A whole store is one line, and exit code 0."""
    assert "store.duckdb · whole · 2 results" in call("verify", "--store", store).output
    assert call_json("verify", NAME, "--store", store)["is_whole"] is True


def test_verify_finds_damage(store: Path, call: Call, call_json: CallJson) -> None:
    """Damage is told with what became of it, and is exit code 4; afterwards it is mended."""
    current = LocalBackend(store).current(NAME)
    assert current is not None
    segment = LocalBackend(store).segments.segment(current)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    found = call_json("verify", "--store", store, code=4)
    (finding,) = found["findings"]
    assert (finding["name"], finding["half"]) == (NAME, "segment")
    assert call("verify", "--store", store).exit_code == 0


def test_verify_of_an_unknown_name(store: Path, call: Call) -> None:
    """A name that nothing has is absence, and not a whole store."""
    assert call("verify", "nix", "--store", store).exit_code == 3


# --- accept -----------------------------------------------------------------------------

MODULE = """
import polars as pl
from usher_pipeline import checkpoint

@checkpoint(name="accepted_genes")
def genes(count: int = 2) -> pl.DataFrame:
    return pl.DataFrame({"n": range(count)}) # EDITED
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> tuple[Path, str]:
    """A module whose result is stored and whose code was edited since, and its name."""
    name = f"accepted_{tmp_path.name}".replace("-", "_")
    file = tmp_path / f"{name}.py"
    monkeypatch.setattr(sys, "path", [*sys.path])
    # What is edited within a second would be taken for what was compiled.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file.write_text(MODULE, "utf-8")
    assert call("warm", name, "--store", tmp_path / "s.duckdb").exit_code == 0
    file.write_text(MODULE.replace(" # EDITED", ".head(9)"), "utf-8")
    sys.modules.pop(name)
    return tmp_path / "s.duckdb", name


def test_accept_keeps_a_result_over_an_edit(
    module: tuple[Path, str], call: Call, call_json: CallJson
) -> None:
    """After it the call is a hit; the statement stands in the history."""
    path, name = module
    shown = call_json("accept", "accepted_genes", "--dry-run", "--store", path)
    assert len(shown["results"]) == 1
    assert shown["results"][0]["changes"] == ["genes() changed"]
    refused = call("accept", "accepted_genes", "--store", path, answer="n\n")
    assert "genes() changed" in refused.stderr
    assert refused.exit_code == 1
    done = call("accept", "accepted_genes", "--yes", "--store", path)
    assert done.output == "accepted: 1 result of accepted_genes\n"
    (row,) = call_json("warm", name, "--dry-run", "--store", path)["checkpoints"]
    assert row["outcome"] == "hit"
    assert "accepted by accept()" in call("show", "accepted_genes", "--store", path).output


def test_what_holds_already_is_not_asked_for(module: tuple[Path, str], call: Call) -> None:
    """Where there is nothing to accept there is no question."""
    path, _ = module
    call("accept", "accepted_genes", "--yes", "--store", path)
    done = call("accept", "accepted_genes", "--store", path)
    assert done.output == "accepted: 0 results of accepted_genes\n"


def test_accept_needs_the_function(module: tuple[Path, str], call: Call) -> None:
    """A module that can not be imported, or does not have it, is told with what to do."""
    path, _ = module
    done = call("accept", "accepted_genes", "--module", "no_such_module", "--store", path)
    assert "can not be imported: ModuleNotFoundError" in done.stderr
    done = call("accept", "nix", "--store", path)
    assert done.exit_code == 3
