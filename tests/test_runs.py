"""Runs: what is in force inside a block, and what is kept of it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from usher_pipeline import checkpoint, configure, current_run, export, run, runs, saying
from usher_pipeline.errors import (
    ConfigError,
    DeclarationError,
    OptionError,
    UnknownSettingError,
    UnsupportedFrameError,
    UsherError,
    UsherWarning,
)
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.standins import StandIn, standing_in

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    """Take back what a test configured for the whole process."""
    yield
    runs._configured.__init__()  # type: ignore[misc]
    runs._implicit.forget_choices()


@checkpoint(name="run_numbers")
def numbers(count: int = 2) -> pl.DataFrame:
    """Return some numbers."""
    return pl.DataFrame({"n": list(range(count))})


@checkpoint(name="run_doubled")
def doubled(frame: pl.DataFrame) -> pl.DataFrame:
    """Return them doubled."""
    return frame * 2


def record_of(folder: Path) -> dict[str, Any]:
    """Return the record of the only run in a store."""
    (path,) = folder.glob("*.checkpoints/.runs/*.json")
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def test_a_block_says_where_the_store_is(tmp_path: Path) -> None:
    """A run's store is used inside its block, and the one before after it."""
    with run(store=tmp_path / "one.duckdb"):
        numbers()
        with run(store=tmp_path / "two.duckdb"):
            numbers()
        assert current_run().backend.path == (tmp_path / "one.duckdb").resolve()
    assert (tmp_path / "one.duckdb").is_file()
    assert (tmp_path / "two.duckdb").is_file()


def test_a_run_decorates_a_function(tmp_path: Path) -> None:
    """As a decorator it makes each call of `main` a run of its own."""
    seen = []

    @run({"a": 1}, store=tmp_path / "store.duckdb")
    def main(number: int) -> int:
        seen.append(current_run().run_id)
        numbers()
        base: int = current_run().get("a")
        return base + number

    assert (main(1), main(2)) == (2, 3)
    assert main.__name__ == "main"
    assert len(set(seen)) == 2


def test_the_store_and_config_are_found_highest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run(...), configure(...), the environment, pyproject.toml, the config, the default."""
    config = tmp_path / "config.yaml"
    config.write_text(f"duckdb_path: {tmp_path}/of_config.duckdb\n")
    assert current_run().store.origin == "default"
    configure(config=config)
    assert current_run().store.value.name == "of_config.duckdb"
    (tmp_path / "pyproject.toml").write_text("[tool.usher]\nstore = 'of_table.duckdb'\n")
    assert current_run().store.value == tmp_path / "of_table.duckdb"
    monkeypatch.setenv("USHER_STORE", "of_environment.duckdb")
    assert current_run().store.origin == "USHER_STORE"
    configure(store="of_configure.duckdb")
    assert current_run().store.origin == "configure(...)"
    with run(store="of_run.duckdb"):
        assert current_run().store.origin == "run(...)"


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("store", 5, "the path of a file, got 5"),
        ("store", ["a.duckdb"], "the path of a file"),
        ("strict", "yes", "True or False, got 'yes'"),
        ("progress", 1, "True or False, got 1"),
        ("lock_timeout_s", "x", "seconds, 0 or more, got 'x'"),
        ("lock_timeout_s", -1, "seconds, 0 or more, got -1"),
        ("lock_timeout_s", True, "seconds, 0 or more, got True"),
        ("costly_s", float("nan"), "seconds, 0 or more, got nan"),
        ("costly_s", object(), "seconds, 0 or more, got object"),
    ],
)
def test_an_option_that_can_not_be_changes_nothing(
    option: str, value: Any, problem: str, tmp_path: Path
) -> None:
    """`configure` refuses what it can not use, and then keeps all that was set before."""
    configure(store=tmp_path / "kept.duckdb", lock_timeout_s=7, costly_s=0.5)
    others = {"config": {"a": 1}, "store": tmp_path / "other.duckdb", "lock_timeout_s": 8}
    with pytest.raises(OptionError, match=rf"configure\({option}=\.\.\.\) expected {problem}"):
        configure(**{**others, option: value})
    assert current_run().store.value == tmp_path / "kept.duckdb"
    assert (runs._configured.lock_timeout_s, runs._configured.costly_s) == (7, 0.5)
    assert runs._configured.config is None


@pytest.mark.parametrize("seconds", [0, 1, 2.5, float("inf"), Fraction(1, 2)])
def test_seconds_are_any_number_from_zero_on(seconds: Any) -> None:
    """A time to wait may be nothing, a fraction, or without end."""
    configure(lock_timeout_s=seconds, costly_s=seconds)
    assert runs._configured.lock_timeout_s == seconds


def test_what_is_no_config_is_refused_by_who_gave_it(tmp_path: Path) -> None:
    """Neither `configure` nor `run` takes what can be no config or no path of a store."""
    with pytest.raises(
        ConfigError, match=r"configure\(\.\.\.\).*expected a path, a mapping or"
    ):
        configure(config=5)
    with pytest.raises(ConfigError, match=r"run\(\.\.\.\).*expected a path, a mapping or"):
        run(5).__enter__()
    wrong: Any = 5
    with run(store=wrong), pytest.raises(OptionError, match=r"run\(store=.*a path, got 5"):
        numbers()
    assert list(tmp_path.iterdir()) == []


def test_notebooks_in_sub_folders_share_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default store lies at the root of the project of the working folder."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks" / "deep")
    assert current_run().store.value == tmp_path / ".usher" / "store.duckdb"


def test_a_run_is_visible_in_the_users_own_threads(tmp_path: Path) -> None:
    """Threads and pools started inside a block see its config and store."""
    pool = ThreadPoolExecutor(2)
    pool.submit(int).result()
    with run({"a": 5}, store=tmp_path / "store.duckdb") as block:
        assert list(pool.map(lambda _: current_run().get("a"), range(4))) == [5] * 4
        thread = threading.Thread(target=numbers)
        thread.start()
        thread.join()
        assert [step["step_name"] for step in block.steps()] == ["run_numbers"]
    pool.shutdown()


def test_blocks_of_two_threads_do_not_mix(tmp_path: Path) -> None:
    """A thread that opened a block of its own sees that one and no other."""
    both = threading.Barrier(2)
    seen: dict[str, set[str]] = {"one": set(), "two": set()}

    def work(name: str) -> None:
        with run({"name": name}, store=tmp_path / f"{name}.duckdb"):
            for _ in range(20):
                both.wait()
                seen[name].add(current_run().get("name"))

    threads = [threading.Thread(target=work, args=(name,)) for name in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"one": {"one"}, "two": {"two"}}


def test_a_run_that_is_open_can_not_be_opened_again(tmp_path: Path) -> None:
    """The inner block needs a run of its own."""
    block = run(store=tmp_path / "store.duckdb")
    with block, pytest.raises(UsherError, match="is open already"):
        block.__enter__()
    with block:
        assert current_run() is block


def test_a_config_that_can_not_be_read_stops_the_block(tmp_path: Path) -> None:
    """Broken YAML and a missing file are errors where the block begins; nothing is written."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("api: [1,\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        run(broken).__enter__()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        run(tmp_path / "nowhere.yaml").__enter__()
    assert current_run().store.origin == "default"
    assert [path.name for path in tmp_path.iterdir()] == ["broken.yaml"]


def test_repeated_hits_are_one_step(tmp_path: Path) -> None:
    """A loop does not fill the provenance: a step is listed once with its number of calls."""
    with run(store=tmp_path / "store.duckdb") as block:
        for _ in range(50):
            numbers()
    computed, hit = block.steps()
    assert (computed["details"]["calls"], hit["details"]["calls"]) == (1, 49)


def test_an_unknown_path_names_its_config() -> None:
    """`get` of a path that is not there says which config was searched."""
    with (
        run({"api": {"page_size": 5}}) as block,
        pytest.raises(UnknownSettingError, match=r"run\(\.\.\.\)"),
    ):
        block.get("api.pagesize")


def test_a_run_keeps_its_provenance_when_it_fails(tmp_path: Path) -> None:
    """A failed block is recorded with its error and all steps so far."""
    failing = pytest.raises(ZeroDivisionError, match="division by zero")
    with failing, run(store=tmp_path / "store.duckdb") as block:
        numbers()
        block.record_step("by hand", {"note": "mine"})
        _ = 1 / 0
    record = record_of(tmp_path)
    assert record["run"]["outcome"] == "failed"
    assert record["run"]["error"].startswith("ZeroDivisionError")
    assert [s["step_name"] for s in record["processing_steps"]] == ["run_numbers", "by hand"]
    with PipelineStore(tmp_path / "store.duckdb") as store:
        sql = "SELECT count(*) FROM _provenance WHERE run_id = $id AND table_name IS NULL"
        assert store.execute_query(sql, {"id": block.run_id}).item() == 1


def test_a_store_that_can_not_be_written_serves_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of hits alone ends quietly when its record can not be saved; others say so."""
    with run(store=tmp_path / "store.duckdb"):
        numbers()

    def refuse(*_: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(LocalBackend, "record_run", refuse)
    with run(store=tmp_path / "store.duckdb"):
        assert numbers().height == 2
    block = run(store=tmp_path / "store.duckdb")
    with pytest.warns(UsherWarning, match=r"could not be saved: .*Read-only"), block:
        numbers(3)


def test_steps_that_were_hits_stay_in_the_provenance(tmp_path: Path) -> None:
    """A hit appears with the time and the run that really computed it."""
    with run(store=tmp_path / "store.duckdb") as first:
        numbers()
    with run(store=tmp_path / "store.duckdb") as second:
        numbers()
    (one,), (two,) = first.steps(), second.steps()
    assert one["timestamp"] == two["timestamp"]
    assert two["details"]["run_id"] == first.run_id
    assert (one["details"]["outcome"], two["details"]["outcome"]) == ("computed", "hit")


def test_what_a_run_meant_is_published_when_it_ends(tmp_path: Path) -> None:
    """After going back to older arguments the plain table shows what the run returned."""
    path = tmp_path / "store.duckdb"
    with run(store=path):
        numbers(2)
    with run(store=path):
        numbers(3)
    with run(store=path):
        numbers(2)
    with PipelineStore(path) as store:
        assert store.execute_query("FROM run_numbers").height == 2


def test_export_writes_the_lineage(tmp_path: Path) -> None:
    """The sidecar of a result lists the steps that led to it, and nothing else."""
    with run(store=tmp_path / "store.duckdb"):
        result = doubled(numbers())
        numbers(9)
        path = export(result, tmp_path / "out" / "doubled.parquet")
    assert pl.read_parquet(path).height == 2
    sidecar = json.loads((tmp_path / "out" / "doubled.provenance.json").read_text())
    names = [step["step_name"] for step in sidecar["processing_steps"]]
    assert names == ["run_numbers", "run_doubled"]
    assert sidecar["output"]["checkpoint"] == "run_doubled"
    assert sidecar["processing_steps"][1]["details"]["inputs"][0]["name"] == "run_numbers"


def test_export_of_a_frame_that_is_no_result_says_so(tmp_path: Path) -> None:
    """A frame that was made from results gets all steps of the run, and a note."""
    with run(store=tmp_path / "store.duckdb"):
        derived = numbers().with_columns(more=1)
        export(derived, tmp_path / "derived.csv")
    sidecar = json.loads((tmp_path / "derived.provenance.json").read_text())
    assert [step["step_name"] for step in sidecar["processing_steps"]] == ["run_numbers"]
    assert "not itself a checkpoint's result" in sidecar["output"]["note"]


def test_export_notices_a_frame_that_was_changed(tmp_path: Path) -> None:
    """A result that was changed in place is not passed off as the checkpoint's."""
    with run(store=tmp_path / "store.duckdb"):
        frame = numbers()
        frame.insert_column(0, pl.Series("added", [1, 1]))
        export(frame, tmp_path / "changed.parquet")
    sidecar = json.loads((tmp_path / "changed.provenance.json").read_text())
    assert sidecar["output"]["content"] is None
    assert "changed after the checkpoint returned it" in sidecar["output"]["note"]


def test_only_frames_can_be_exported(tmp_path: Path) -> None:
    """Anything else is a clear error, and nothing is written."""
    with pytest.raises(UnsupportedFrameError, match="Give a frame, one of polars"):
        export([1], tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_pools_of_two_runs_see_their_own() -> None:
    """Blocks that are open in two threads at once do not mix in the pools of either."""
    barrier = threading.Barrier(2)
    seen: dict[int, list[int]] = {}

    def one(number: int) -> None:
        with run({"a": number}), ThreadPoolExecutor(2) as pool:
            barrier.wait()
            seen[number] = list(pool.map(lambda _: current_run().get("a"), range(3)))
            barrier.wait()

    threads = [threading.Thread(target=one, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {1: [1, 1, 1], 2: [2, 2, 2]}


def test_the_decorator_refuses_what_runs_after_the_block() -> None:
    """An asynchronous function or a generator would run when the block has ended."""

    async def later() -> None: ...

    def bit_by_bit() -> Any:
        yield 1

    for function in (later, bit_by_bit):
        with pytest.raises(DeclarationError, match=r"open `with run\(\.\.\.\):` inside it"):
            run()(function)


def test_the_bare_decorator(tmp_path: Path) -> None:
    """`@run` without brackets makes each call a run with what is in force."""

    @run
    def main(n: int) -> str:
        return f"{n} {current_run().run_id}"

    first, second = main(1), main(2)
    assert first[:2] == "1 "
    assert first[2:] != second[2:]


def test_a_block_may_say_how_to_store() -> None:
    """What `configure` says of strictness and waiting, a block may say for itself."""
    with run(strict=True, lock_timeout_s=1.5, costly_s=3.0) as current:
        assert (current.strict, current.lock_timeout_s, current.costly_s) == (True, 1.5, 3.0)
        assert current.backend.timeout_s == 1.5
    with run() as current:
        assert (current.strict, current.costly_s) == (False, 600.0)


def test_details_may_be_anything() -> None:
    """What JSON has no form for is written as text; the run ends all the same."""
    config = {"versions": {"clinvar_version": date(2026, 1, 15)}}
    with run(config, store="s.duckdb") as current:
        current.record_step(
            "filter", {"kept": np.int64(5), "path": Path("a"), "day": date(2026, 2, 16)}
        )
        record_path = Path("s.checkpoints", ".runs", f"{current.run_id}.json")
    record = json.loads(record_path.read_text())
    assert record["processing_steps"][0]["details"] == {
        "kept": 5,
        "path": "a",
        "day": "2026-02-16",
    }
    assert record["data_source_versions"] == {"clinvar": "2026-01-15"}


def test_a_failing_call_is_a_step() -> None:
    """A call that failed stands in the provenance with its error, also if it was caught."""

    @checkpoint(name="broken")
    def broken() -> pl.DataFrame:
        raise ValueError("no answer")

    with run() as current:
        with pytest.raises(ValueError, match="no answer"):
            broken()
        step = current.steps()[0]
    assert step["step_name"] == "broken"
    assert step["details"]["outcome"] == "failed"
    assert step["details"]["error"] == "ValueError: no answer"


def test_a_process_without_a_block_leaves_its_record(tmp_path: Path) -> None:
    """The run that an entry names can be looked up, also where nobody opened a block."""
    script = (
        "import polars as pl\nfrom usher_pipeline import checkpoint\n"
        "@checkpoint\ndef genes():\n    return pl.DataFrame({'a': [1]})\ngenes()\n"
        "print(genes.entries()[0].run_id)\n"
    )
    (tmp_path / "script.py").write_text(script)
    for expected in (1, 1):
        done = subprocess.run(
            [sys.executable, "script.py"], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        records = list(Path(".usher", "store.checkpoints", ".runs").iterdir())
        assert [record.stem for record in records] == [done.stdout.strip()] * expected


# --- what is said -----------------------------------------------------------------------


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody look on, who has seen nothing yet."""
    monkeypatch.setattr(saying._Voice, "_is_heard", staticmethod(lambda: True))
    monkeypatch.setattr(saying.voice, "counts", {})


@pytest.mark.usefixtures("heard")
def test_every_new_reason_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A call that runs again for another reason is said; one that does the same is not."""
    for count in (2, 3, 2, 4, 4):
        numbers(count)
    numbers.refresh(2)
    numbers.refresh(2)
    said = [line.split(" · ")[1] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "computed (first call)",
        "computed (count: 2 → 3)",
        "hit",
        "computed (count: 3 → 4)",
        "computed (refresh was asked for)",
    ]


@pytest.mark.usefixtures("heard")
def test_a_loop_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """What is done over and over is said at the first, the tenth and the hundredth call."""
    numbers()
    for _ in range(101):
        numbers()
    _, *hits = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" · ")[2] for line in hits[1:]] == ["10 calls", "100 calls"]


@pytest.mark.usefixtures("heard")
def test_a_bypass_is_said_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """A call that stores nothing says so."""
    numbers.bypass()
    assert "not stored (bypass was asked for)" in capsys.readouterr().err


def test_a_terminal_that_is_gone_costs_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the line can not be said any more, the caller still gets the frame."""

    class Gone:
        def isatty(self) -> bool:
            return True

        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    @checkpoint(name="spoken_to_nobody")
    def spoken_to_nobody() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    monkeypatch.setattr(sys, "stderr", Gone())
    assert spoken_to_nobody().item() == 1


def test_what_stands_in_for_a_store_counts_at_once(tmp_path: Path) -> None:
    """A run that is open has the store that stands in for its own exactly while it does."""
    stand_in = StandIn(str(tmp_path / "apart.duckdb"), str(tmp_path), guarded=(str(tmp_path),))
    with run(store="own.duckdb") as current:
        assert current.backend.path.name == "own.duckdb"
        with standing_in(stand_in):
            assert current.backend.path.name == "apart.duckdb"
            with standing_in(None):
                assert current.backend.path.name == "own.duckdb"
            assert current.backend.path.name == "apart.duckdb"
        assert current.backend.path.name == "own.duckdb"


def test_a_run_can_start_over_and_leave_a_store() -> None:
    """The run of the process forgets what was done, or what it means in one store alone."""
    numbers()
    process = runs.process_run()
    assert process.steps() != []
    assert process.returned(process.backend.path) != []
    process.leave(process.backend.path)
    assert process.returned(process.backend.path) == []
    assert process.steps() != []
    before = process.run_id
    process.start_over()
    assert process.steps() == []
    assert process.run_id != before
    assert current_run() is process
