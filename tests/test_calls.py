"""The circle: what becomes of stored work when code changed, or the world did meanwhile."""

from __future__ import annotations

import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from usher_pipeline import checkpoint, configure, current_run, export, run, source
from usher_pipeline.errors import (
    CheckpointMissError,
    CheckpointNotSaved,
    CodeChangedError,
    ConfigError,
    DeclarationError,
    NameClashError,
    UsherWarning,
)
from usher_pipeline.persistence import PipelineStore, ProvenanceTracker
from usher_pipeline.persistence.local import LocalBackend
from usher_pipeline.records import Blocked, Hit, Miss

if TYPE_CHECKING:
    from collections.abc import Iterator


def _clean(text: str) -> str:
    return text.strip()


#: What the functions of these tests reach; a test binds it anew, as an edit does.
clean = _clean


class Runs(list[str]):
    """What really ran; by the name of its class no part of any key."""

    def __checkpoint_key__(self) -> str:
        return "runs"


@pytest.fixture
def ran() -> Runs:
    """A list that functions append to when they really run."""
    return Runs()


@pytest.fixture(autouse=True)
def _all_is_costly() -> Iterator[None]:
    """Take all that is stored for hours of work."""
    configure(costly_s=0.0)
    yield
    configure(costly_s=600.0)


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the helper another meaning, or its first one back."""

    def rebind(helper: Any = _clean) -> None:
        monkeypatch.setitem(globals(), "clean", helper)

    return rebind


def fetching(ran: Runs, **options: Any) -> Any:
    """Return a checkpoint that reaches the helper."""

    @checkpoint(name="fetch", ignore=["ran"], **options)
    def fetch(term: str = "a", ran: Runs = ran) -> pl.DataFrame:
        ran.append(term)
        return pl.DataFrame({"term": [clean(term)]})

    return fetch


# --- after an edit ----------------------------------------------------------------------


def test_costly_work_is_not_done_again_for_an_edit(ran: Runs, edit: Any) -> None:
    """The call is an error before anything runs; it says what changed and what to do."""
    fetch = fetching(ran)
    fetch()
    edit(lambda text: text.strip().lower())
    with pytest.raises(CodeChangedError, match=r"fetch\.accept.*fetch\.refresh") as caught:
        fetch()
    assert any("clean" in change for change in caught.value.changes)
    assert caught.value.name == "fetch"
    assert caught.value.entry == fetch.entries()[0]
    decision = fetch.explain()
    assert isinstance(decision, Blocked)
    assert str(decision).startswith("blocked: ")
    with pytest.raises(CheckpointMissError, match="clean"):
        fetch.load()
    assert ran == ["a"]


def test_an_edit_that_is_taken_back_is_a_hit(ran: Runs, edit: Any) -> None:
    """Nothing is removed because code changed."""
    fetch = fetching(ran)
    fetch()
    edit(lambda text: text.upper())
    fetch.refresh()
    edit()
    assert fetch()["term"].to_list() == ["a"]
    edit(lambda text: text.upper())
    assert fetch()["term"].to_list() == ["A"]
    assert ran == ["a", "a"]


def test_cheap_work_is_done_again(ran: Runs, edit: Any) -> None:
    """What took less than `costly_s` is computed again, with the edit as the reason."""
    configure(costly_s=600.0)
    fetch = fetching(ran)
    fetch()
    edit(lambda text: text.upper())
    decision = fetch.explain()
    assert isinstance(decision, Miss)
    assert "clean" in str(decision.reason)
    assert fetch()["term"].to_list() == ["A"]
    assert ran == ["a", "a"]


def test_another_argument_is_no_edit(ran: Runs, edit: Any) -> None:
    """The guard is for calls that differ in code alone; others run."""
    fetch = fetching(ran)
    fetch("a")
    edit(lambda text: text.upper())
    assert fetch("b")["term"].to_list() == ["B"]
    # The newer entry shares the code and is nearer; the older one is still worth hours.
    with pytest.raises(CodeChangedError, match="fetch would run again"):
        fetch("a")
    assert ran == ["a", "b"]


def test_accept_keeps_what_is_stored(ran: Runs, edit: Any) -> None:
    """After `accept` the stored result answers, and its provenance says so."""
    fetch = fetching(ran)
    fetch("a")
    fetch("b")
    edit(lambda text: text.upper())
    assert fetch.accept("a") == 1
    assert fetch.accept("a") == 0
    assert fetch("a")["term"].to_list() == ["a"]
    with pytest.raises(CodeChangedError, match="fetch would run again"):
        fetch("b")
    assert fetch.accept() == 1
    assert fetch("b")["term"].to_list() == ["b"]
    assert fetch.accept() == 0
    assert ran == ["a", "b"]
    sidecar = export(fetch("a"), "a.parquet").with_suffix(".provenance.json")
    step = ProvenanceTracker.load_sidecar(sidecar)["processing_steps"][0]
    (accepted,) = step["details"]["accepted"]
    assert accepted["how"] == "accept()"
    assert any("clean" in change for change in accepted["changes"])
    older = [entry for entry in fetch.entries() if not entry.accepted]
    assert accepted["key"] in [entry.key.digest for entry in older]
    assert step["timestamp"] == older[0].cost.started_at.isoformat() or len(older) == 2


def test_the_next_edit_is_compared_with_the_accepted_code(ran: Runs, edit: Any) -> None:
    """What was accepted is the result of the code that it was accepted for."""
    fetch = fetching(ran)
    fetch()
    edit(lambda text: text.upper())
    fetch.accept()
    second = fetch.entries()[0]
    edit(lambda text: text.title())
    decision = fetch.explain()
    assert isinstance(decision, Blocked)
    assert decision.entry == second
    fetch.accept()
    assert len(fetch.entries()[0].accepted) == 2
    edit()
    assert isinstance(fetch.explain(), Hit)
    assert ran == ["a"]


def test_accept_leaves_alone_what_differs_in_more_than_code(ran: Runs, edit: Any) -> None:
    """An entry of an older source is not taken for one of the present source."""
    fetch = fetching(ran, sources=["gnomad"])
    with run({"versions": {"gnomad": "v4.0"}}):
        fetch()
    edit(lambda text: text.upper())
    with run({"versions": {"gnomad": "v4.1"}}):
        assert fetch.accept() == 0
        with pytest.raises(CheckpointMissError, match="not even with older code"):
            fetch.accept("a")
    with run({"versions": {"gnomad": "v4.0"}}):
        assert fetch.accept() == 1
        fetch()
    assert ran == ["a"]


def test_an_accepted_result_outlives_the_older_one(
    ran: Runs, edit: Any, tmp_path: Path
) -> None:
    """Each entry has a segment of its own, and either may be forgotten."""
    fetch = fetching(ran)
    fetch()
    edit(lambda text: text.upper())
    fetch.accept()
    edit()
    assert fetch.forget()
    edit(lambda text: text.upper())
    assert fetch()["term"].to_list() == ["a"]
    assert ran == ["a"]


@pytest.mark.parametrize("policy", ["recompute", "accept", "error"])
@pytest.mark.parametrize("place", ["option", "environment"])
def test_the_policy_is_stated_by_option_or_environment(
    policy: Any, place: str, ran: Runs, edit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`on_code_change` and USHER_ON_CODE_CHANGE decide in place of the guard."""
    fetch = fetching(ran, **({"on_code_change": policy} if place == "option" else {}))
    if place == "environment":
        monkeypatch.setenv("USHER_ON_CODE_CHANGE", policy)
    configure(costly_s=600.0 if policy == "error" else 0.0)
    fetch()
    edit(lambda text: text.upper())
    match policy:
        case "recompute":
            assert fetch()["term"].to_list() == ["A"]
        case "accept":
            decision = fetch.explain()
            assert isinstance(decision, Hit)
            assert "accepted for" in str(decision)
            assert fetch.entries()[0].accepted == ()
            assert fetch()["term"].to_list() == ["a"]
            assert fetch.entries()[0].accepted[0].how == "on_code_change"
        case "error":
            with pytest.raises(CodeChangedError, match="code changed"):
                fetch()
    assert ran == (["a", "a"] if policy == "recompute" else ["a"])


def test_an_unknown_policy_is_refused(ran: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that does not exist is an error, at the decorator or at the call."""
    with pytest.raises(DeclarationError, match="on_code_change= expected one of guard"):
        fetching(ran, on_code_change="ask")
    fetch = fetching(ran)
    monkeypatch.setenv("USHER_ON_CODE_CHANGE", "ask")
    with pytest.raises(ConfigError, match=r"expected one of guard, .* got 'ask'"):
        fetch()
    assert ran == []


# --- what changes while a function runs -------------------------------------------------


def test_a_file_that_changes_meanwhile(tmp_path: Path) -> None:
    """The result is returned with a warning and not stored, since its key says the old file."""
    path = tmp_path / "genes.txt"
    path.write_text("USH2A")

    @checkpoint(name="reader")
    def reader(file: Path, text: str) -> pl.DataFrame:
        if file.read_text() != text:
            file.write_text(text)
        return pl.DataFrame({"gene": [file.read_text()]})

    with pytest.warns(CheckpointNotSaved, match=r"genes\.txt' changed.*Call again"):
        assert reader(path, "MYO7A").item() == "MYO7A"
    assert reader.entries() == []
    assert reader(path, "MYO7A").item() == "MYO7A"
    assert len(reader.entries()) == 1
    steps = [step["details"]["outcome"] for step in current_run().steps()[-2:]]
    assert steps == ["not stored", "computed"]


def test_a_probe_that_answers_anew_meanwhile() -> None:
    """A source that moved on while it was fetched is under no key."""
    answers = iter(["v1", "v2", "v2", "v2"])

    @checkpoint(name="moving", sources={"gnomad": lambda: next(answers)})
    def moving() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    with run():
        with pytest.warns(CheckpointNotSaved, match="source gnomad changed"):
            moving()
        assert moving.entries() == []


def test_a_probe_that_fails_meanwhile_costs_no_result() -> None:
    """If a source can not be asked again, the result is stored, and a warning says so."""
    answers = ["v1"]

    @checkpoint(name="failing", sources={"gnomad": answers.pop})
    def failing() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    with run():
        with pytest.warns(UsherWarning, match="can not be told: IndexError"):
            failing()
        assert len(failing.entries()) == 1


def test_what_was_made_of_an_unstored_result_is_not_stored(tmp_path: Path) -> None:
    """A caller of a function whose result is under no key has none itself."""
    path = tmp_path / "genes.txt"
    path.write_text("USH2A")

    @checkpoint(name="inner")
    def inner(file: Path) -> pl.DataFrame:
        file.write_text("MYO7A")
        return pl.DataFrame({"gene": [file.read_text()]})

    @checkpoint(name="outer", ignore=["file"])
    def outer(file: Path) -> pl.DataFrame:
        return inner(file)

    with (
        pytest.warns(CheckpointNotSaved, match=r"genes\.txt"),
        pytest.warns(CheckpointNotSaved, match="inner, whose result was not stored"),
    ):
        outer(path)
    assert outer.entries() == []


def test_an_input_that_changes_meanwhile(tmp_path: Path) -> None:
    """A declared table that was replaced while the function ran leaves no entry."""
    path = tmp_path / "store.duckdb"

    @checkpoint(name="joined", inputs=["genes"])
    def joined(change: int) -> pl.DataFrame:
        with PipelineStore(path) as store:
            found = store.execute_query("FROM genes")
            if change:
                store.save_dataframe(pl.DataFrame({"n": [change]}), "genes")
        return found

    with PipelineStore(path) as store:
        store.save_dataframe(pl.DataFrame({"n": [1]}), "genes")
    with run(store=path):
        with pytest.warns(CheckpointNotSaved, match="table genes changed"):
            assert joined(2).item() == 1
        assert joined.entries() == []
        assert joined(0).item() == 2
        assert isinstance(joined.explain(0), Hit)
    with PipelineStore(path) as store:
        store.save_dataframe(pl.DataFrame({"n": [3]}), "genes")
    with run(store=path):
        assert "table genes: another version" in str(joined.explain(0).reason)


# --- reasons ----------------------------------------------------------------------------


def test_the_column_of_a_frame_that_changed_is_named() -> None:
    """A frame that differs in one column is told by that column."""

    @checkpoint(name="scored")
    def scored(genes: pl.DataFrame) -> pl.DataFrame:
        return genes

    genes = pl.DataFrame({"gene": ["USH2A"], "score": [0.9]})
    scored(genes)
    later = scored.explain(genes.with_columns(score=0.8))
    assert str(later.reason) == "genes: column score changed"
    wider = scored.explain(genes.with_columns(rank=1))
    assert str(wider.reason) == (
        "genes: column rank is new (DataFrame 1 × 2 → DataFrame 1 × 3)"
    )


def test_a_miss_on_a_credential_suggests_to_ignore_it() -> None:
    """A token is never shown; where it made the miss, the reason says how to leave it out."""

    @checkpoint(name="private")
    def private(api_key: str) -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    private("first-s3cret")
    reason = str(private.explain("other-s3cret").reason)
    assert 'ignore=["api_key"]' in reason
    assert "s3cret" not in reason


def test_explain_names_what_is_not_watched() -> None:
    """What could change a result unseen stands under the decision."""
    lock = threading.Lock()

    @checkpoint(name="locked")
    def locked() -> pl.DataFrame:
        with lock:
            return pl.DataFrame({"a": [1]})

    assert "not watched: lock (thread.lock)" in str(locked.explain())
    locked()
    assert "not watched: lock (thread.lock)" in str(locked.explain())


def test_a_text_that_names_a_file_warns_once(tmp_path: Path) -> None:
    """The text counts and the file does not, so the user is told how to make it count."""
    path = tmp_path / "genes.txt"
    path.write_text("USH2A")

    @checkpoint(name="by_text")
    def by_text(file: str, n: int = 1) -> pl.DataFrame:
        return pl.DataFrame({"gene": [Path(file).read_text()]})

    with pytest.warns(UsherWarning, match=r'files=\["file"\]'):
        by_text(str(path))
    by_text(str(path), 2)


def test_declared_files_count_by_content(tmp_path: Path) -> None:
    """With `files=` a text counts as the path that it is."""
    path = tmp_path / "genes.txt"
    path.write_text("USH2A")

    @checkpoint(name="by_file", files=["file"])
    def by_file(file: str) -> pl.DataFrame:
        return pl.DataFrame({"gene": [Path(file).read_text()]})

    assert by_file(str(path)).item() == "USH2A"
    path.write_text("MYO7A")
    assert by_file(str(path)).item() == "MYO7A"


def test_a_source_as_parameter_counts(ran: Runs) -> None:
    """A version that is handed in is part of the key, and of the reason."""

    @checkpoint(name="released", ignore=["ran"])
    def released(ran: Runs = ran, *, release: str = source("gnomad")) -> pl.DataFrame:
        ran.append(release)
        return pl.DataFrame({"release": [release]})

    with run({"versions": {"gnomad_version": "v4.0"}}):
        released()
    with run({"versions": {"gnomad_version": "v4.1"}}):
        assert "source gnomad: v4.0 → v4.1" in str(released.explain().reason)
        released()
    assert ran == ["v4.0", "v4.1"]


# --- nothing is lost --------------------------------------------------------------------


def test_a_config_that_breaks_meanwhile_costs_no_result() -> None:
    """When the function has run, its result is stored whatever became of the config."""
    Path("pyproject.toml").write_text("")

    @checkpoint(name="long")
    def long() -> pl.DataFrame:
        Path("pyproject.toml").write_text("[tool.usher\n")
        return pl.DataFrame({"a": [1]})

    with pytest.warns(UsherWarning, match=r"can not be told: .*pyproject\.toml"):
        assert long().item() == 1
    Path("pyproject.toml").write_text("")
    assert isinstance(long.explain(), Hit)


def test_names_that_differ_in_case_are_refused_at_once() -> None:
    """Files and tables could not tell them apart, so the second is an error as it is made."""

    @checkpoint(name="Genes")
    def upper() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    with pytest.raises(NameClashError, match=r"'Genes' of .*upper and by 'genes' of .*lower"):

        @checkpoint(name="genes")
        def lower() -> pl.DataFrame:
            return pl.DataFrame({"a": [1]})

    assert upper().height == 1


def test_first_calls_at_once_do_not_clash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a name that another thread makes just now is no other spelling of it."""
    plain, seen = os.path.isdir, threading.local()
    own = tmp_path / "store.checkpoints" / "parallel"

    def isdir(path: Any) -> bool:
        # The first answer that each call gets is from before the folder was there.
        # Threads that no call is in ask as well, such as the one that publishes.
        is_first = getattr(seen, "is_first", False)
        if str(path) == str(own) and not is_first:
            return plain(path)
        seen.is_first = is_first and str(path) != str(own)
        return str(path) != str(own) and plain(path)

    monkeypatch.setattr(os.path, "isdir", isdir)

    @checkpoint(name="parallel", version="1")
    def parallel(n: int) -> pl.DataFrame:
        return pl.DataFrame({"n": [n]})

    def called(n: int) -> int:
        seen.is_first = True
        found: int = parallel(n).item()
        return found

    with run(store=tmp_path / "store.duckdb"), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(called, range(12))) == list(range(12))
        assert len(parallel.entries()) == 12


def test_an_error_made_of_the_warning_has_the_frame(tmp_path: Path) -> None:
    """Who makes warnings errors loses no result that could not be stored."""

    @checkpoint(name="unsaved", version="1")
    def unsaved() -> pl.DataFrame:
        pending = tmp_path / "store.checkpoints" / ".pending"
        pending.parent.mkdir(exist_ok=True)
        pending.write_text("in the way")
        return pl.DataFrame({"a": [1]})

    with (
        run(store=tmp_path / "store.duckdb"),
        pytest.raises(CheckpointNotSaved, match="could not be stored") as caught,
    ):
        unsaved()
    assert caught.value.frame.equals(pl.DataFrame({"a": [1]}))


def test_an_error_made_of_a_change_meanwhile_has_the_frame(tmp_path: Path) -> None:
    """What was made while a file changed is in the error as well."""
    path = tmp_path / "genes.txt"
    path.write_text("USH2A")

    @checkpoint(name="torn")
    def torn(file: Path) -> pl.DataFrame:
        file.write_text("MYO7A")
        return pl.DataFrame({"gene": [file.read_text()]})

    with pytest.raises(CheckpointNotSaved, match=r"genes\.txt' changed") as caught:
        torn(path)
    assert caught.value.frame.item() == "MYO7A"


def test_publishing_that_fails_costs_no_result(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong with the table, the caller has its frame and the log the reason."""

    def refuse(*_: object) -> None:
        raise RuntimeError("what nobody thought of")

    @checkpoint(name="tableless")
    def tableless() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    with monkeypatch.context() as patched:
        patched.setattr(LocalBackend, "publish_soon", refuse)
        assert tableless().item() == 1
    assert "tableless has no table for now" in caplog.text
    assert "what nobody thought of" in caplog.text
    assert isinstance(tableless.explain(), Hit)


def test_refresh_is_not_answered_by_what_began_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was ahead makes no older result a newer one."""
    numbers = [1]

    @checkpoint(name="clocked", ignore=["numbers"])
    def clocked(numbers: list[int]) -> pl.DataFrame:
        return pl.DataFrame({"n": numbers})

    ahead = datetime.now(UTC) + timedelta(days=1)
    with monkeypatch.context() as patched:
        patched.setattr("usher_pipeline.calls.utc_now", lambda: ahead)
        clocked(numbers)
    numbers[:] = [2]
    assert clocked.refresh(numbers).item() == 2
    assert clocked(numbers).item() == 2


def test_what_remembers_is_asked_anew() -> None:
    """A cached helper does not hand an older value to a call that is computed."""

    @functools.lru_cache
    def limit() -> int:
        return int(Path("limit.txt").read_text())

    @checkpoint(name="limited", files=["path"])
    def limited(path: str) -> pl.DataFrame:
        return pl.DataFrame({"limit": [limit()]})

    Path("limit.txt").write_text("1")
    assert limited("limit.txt").item() == 1
    Path("limit.txt").write_text("22")
    assert limited("limit.txt").item() == 22


def test_arguments_arrive_as_they_were_given() -> None:
    """What was given by name is handed on by name, so a decorator inside finds it there."""
    seen: list[Any] = []

    def noting(function: Any) -> Any:
        @functools.wraps(function)
        def around(*args: Any, **kwargs: Any) -> Any:
            seen.append((args, kwargs))
            return function(*args, **kwargs)

        return around

    @checkpoint(name="noted", ignore=["release"])
    @noting
    def noted(x: int, y: int = 2, *, release: str = source("gnomad")) -> pl.DataFrame:
        return pl.DataFrame({"x": [x], "y": [y]})

    with run({"versions": {"gnomad": "v4.1"}}):
        noted(1)
        noted(y=5, x=7)
    assert seen == [((1,), {"release": "v4.1"}), ((), {"y": 5, "x": 7, "release": "v4.1"})]


def test_a_method_counts_with_its_object() -> None:
    """A bound method, wrapped or handed over, brings its object and the class of it."""

    class Scaled:
        def __init__(self, by: int) -> None:
            self.by = by

        def go(self) -> pl.DataFrame:
            return pl.DataFrame({"by": [self.by]})

        @checkpoint(name="scaled_step")
        def step(self) -> pl.DataFrame:
            return self.go()

    @checkpoint(name="scaled_calls")
    def calling(step: Any) -> pl.DataFrame:
        frame: pl.DataFrame = step()
        return frame

    assert [calling(Scaled(n).step).item() for n in (2, 3)] == [2, 3]
    first = checkpoint(name="bound")(Scaled(4).go)
    assert first().item() == 4
    second = checkpoint(name="bound")(Scaled(5).go)
    assert second().item() == 5


def test_an_ignored_self_leaves_its_class(ran: Runs) -> None:
    """`ignore=["self"]` leaves out what the object holds, not what its methods do."""

    def made(text: str) -> Any:
        space: dict[str, Any] = {"pl": pl, "checkpoint": checkpoint}
        exec(text, space)  # noqa: S102 - as a cell does
        return space["Api"]()

    text = (
        "class Api:\n    @checkpoint(name='api', ignore=['self'])\n"
        "    def fetch(self): return pl.DataFrame({'a': [self.size()]})\n"
        "    def size(self): return 1\n"
    )
    assert made(text).fetch().item() == 1
    configure(costly_s=600.0)
    assert made(text.replace("return 1", "return 2")).fetch().item() == 2


def test_one_source_in_two_parameters() -> None:
    """Two versions of one source do not change places unseen."""

    @checkpoint(name="compared")
    def compared(a: str = source("gnomad"), b: str = source("gnomad")) -> pl.DataFrame:
        return pl.DataFrame({"a": [a], "b": [b]})

    assert compared("v1", "v2").row(0) == ("v1", "v2")
    assert compared("v2", "v1").row(0) == ("v2", "v1")


def test_labels_of_code_in_arguments_are_kept() -> None:
    """What a function that was handed over reaches unseen is named as well."""

    def reading() -> str:
        return Path("d.txt").read_text()

    @checkpoint(name="given")
    def given(function: Any) -> pl.DataFrame:
        return pl.DataFrame({"a": [function()]})

    Path("d.txt").write_text("1")
    assert "files that it opens" in str(given.explain(reading))
    given(reading)
    assert "files that it opens" in str(given.explain(reading))


def test_a_frame_in_a_global_is_an_input() -> None:
    """A result that the code holds, and nobody passes, stands in the provenance too."""

    @checkpoint(name="held_part")
    def part() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    held = part()

    @checkpoint(name="holding")
    def holding() -> pl.DataFrame:
        return held * 2

    holding()
    assert [read.name for read in holding.entries()[0].inputs] == ["held_part"]


@pytest.mark.parametrize("how", ["list", "mapping", "object"])
def test_a_frame_in_what_a_global_holds_is_an_input(how: str) -> None:
    """So does one in a collection or an object that the code holds, however deep."""

    @checkpoint(name="held_part")
    def part() -> pl.DataFrame:
        return pl.DataFrame({"a": [1]})

    frame = part()
    within = {"list": [[frame]], "mapping": {"a": {"b": frame}}, "object": None}[how]
    held = within or SimpleNamespace(inner=SimpleNamespace(frame=frame))

    @checkpoint(name="holding")
    def holding() -> pl.DataFrame:
        return pl.DataFrame({"a": [len(str(held))]})

    holding()
    assert [read.name for read in holding.entries()[0].inputs] == ["held_part"]


def test_a_value_that_raises_when_it_is_asked() -> None:
    """An object whose attributes raise is told by its type, as any other unknown one."""

    class Strange:
        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

    strange, inner = Strange(), list[Any]()
    inner.append(inner)

    @checkpoint(name="strange")
    def odd() -> pl.DataFrame:
        return pl.DataFrame({"a": [len(inner)], "b": [type(strange).__name__]})

    assert odd().row(0) == (1, "Strange")
