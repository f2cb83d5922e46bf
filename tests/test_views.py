"""Records as HTML: what is in it, and what never is."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final

import polars as pl
import pytest

from usher_pipeline import checkpoint, current_run, entries, run
from usher_pipeline.persistence import PipelineStore
from usher_pipeline.records import Blocked, Bypass, Difference, Hit, Miss, Pull, Reason
from usher_pipeline.views import (
    Table,
    decision_view,
    entries_view,
    entry_view,
    run_view,
    view,
)

if TYPE_CHECKING:
    from usher_pipeline.records import Decision, Entry

#: Markup, and a credential beside its name.
NASTY: Final = '<script>alert("x")</script> token=abcdef123'
SHOWN: Final = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; token=(hidden)"
#: Elements that end by themselves or are never written here.
TAGS: Final = frozenset(("div", "strong", "table", "tr", "th", "td", "details", "summary"))


class Checked(HTMLParser):
    """A reader that lets pass only what is whole and can do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an element, which has to be a harmless one."""
        assert tag in TAGS
        assert {name for name, _ in attrs} <= {"style"}
        assert not any(word in str(attrs) for word in ("url", "background", "color:#000"))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Take in the end of an element, which has to be the innermost."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Take in a text."""
        self.texts.append(data)


def texts_in(html: str) -> list[str]:
    """Return the texts of markup that is whole and can do nothing."""
    reader = Checked()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.texts


@pytest.fixture
def entry() -> Entry:
    """Return a stored result that was called with a credential."""

    @checkpoint(name="genes", sources={"gnomad": "v4.1"})
    def genes(min_depth: float, api_key: str) -> pl.DataFrame:
        """Fetch genes."""
        return pl.DataFrame({"gene": ["USH2A"], "depth": [min_depth]})

    with run(store="store.duckdb"):
        genes(30.0, api_key="very-secret")
        return entries("genes")[0]


def test_every_text_is_escaped() -> None:
    """No text becomes markup, wherever it stands, and credentials in texts are hidden."""
    table = Table((NASTY, "b"), [(NASTY, "c")], NASTY)
    shown = view(NASTY, {NASTY: NASTY}, [table], note=NASTY)
    texts_in(shown)
    assert shown.count(SHOWN) == 7
    assert "abcdef123" not in shown


def test_what_is_empty_is_left_out() -> None:
    """Facts and columns without text, and tables without rows, are not there."""
    tables = [Table(("gone",), []), Table(("a", "none"), [("1", ""), ("2", "")])]
    assert texts_in(view("title", {"empty": "", "fact": "yes"}, tables)) == [
        *("title", "fact", "yes", "a", "1", "2"),
    ]


def test_what_is_long_is_cut() -> None:
    """A very long text and very many rows are cut, and the rows are counted."""
    rows = [(str(number),) for number in range(120)]
    texts = texts_in(view("x" * 600, tables=[Table(("n",), rows)]))
    assert texts[0] == f"{'x' * 499}…"
    assert texts[-2:] == ["99", "and 20 more"]


def test_an_entry_says_where_it_came_from(entry: Entry) -> None:
    """An entry shows its size, age, origin, arguments, sources and columns; no secret."""
    shown = entry_view(entry, entry.created_at + timedelta(hours=3))
    texts = texts_in(shown)
    assert texts[0] == "genes"
    facts = dict(zip(texts[2::2], texts[3::2], strict=False))
    assert facts["result"].startswith("1 × 2 · polars.DataFrame · ")
    assert " · 3 h old · took " in facts["stored"]
    assert facts["arguments"] == "min_depth=30.0, api_key=(hidden)"
    assert facts["sources"] == "gnomad=v4.1"
    assert facts["because"] == "first call"
    assert "2 columns" in texts
    assert "very-secret" not in shown
    assert entry._repr_html_().count("<table") == shown.count("<table")


def test_an_entry_says_that_it_was_pulled(entry: Entry) -> None:
    """Of a result that came in a file the last one is told; of others nothing is."""
    pulls = (Pull(entry.created_at, "one.usher"), Pull(entry.created_at, "<two>.usher"))
    texts = texts_in(entry_view(replace(entry, pulled=pulls)))
    assert texts[texts.index("pulled") + 1].endswith(" UTC from <two>.usher")
    assert "pulled" not in texts_in(entry_view(entry))


def test_entries_are_a_table(entry: Entry) -> None:
    """Entries are shown one in a row, and are still a list."""
    shown = entries_view([entry, entry], entry.created_at + timedelta(days=1))
    assert texts_in(shown).count("genes") == 2
    assert texts_in(entries_view([]))[0] == "0 stored results"
    with run(store="store.duckdb"):
        found = entries("genes")
    assert found == [entry]
    assert texts_in(found._repr_html_())[0] == "1 stored result"


REASON: Final = Reason(
    "min_depth: 30.0 → <20.0>",
    (
        Difference("argument", "min_depth", "30.0", "<20.0>"),
        Difference("source", "gnomad", "v4.0", "v4.1", "config.yaml:12"),
        Difference("code", "helper clean()", "code", "code"),
    ),
)


def test_a_miss_shows_what_differs() -> None:
    """A miss shows its reason, what was and what is, and what is not watched."""
    texts = texts_in(decision_view(Miss(REASON, ("environment variables in genes()",))))
    assert texts[:2] == ["miss", " · min_depth: 30.0 → <20.0>"]
    assert texts[2:7] == ["what", "name", "before", "now", "stated in"]
    assert texts[12:17] == ["source", "gnomad", "v4.0", "v4.1", "config.yaml:12"] or (
        "config.yaml:12" in texts
    )
    assert texts[-3:] == ["1 not watched", "what", "environment variables in genes()"]


def test_every_decision_has_a_view(entry: Entry) -> None:
    """Each kind of decision says what it is, and what is stored if anything."""
    decisions: dict[str, Decision] = {
        "hit": Hit(entry),
        "miss": Miss(REASON),
        "blocked": Blocked(REASON, entry, stored="1 row that took 2 h"),
        "bypass": Bypass(),
    }
    for verb, decision in decisions.items():
        texts = texts_in(decision._repr_html_())
        assert texts[0] == verb
        assert str(decision.reason) in texts[1]
    assert "1 row that took 2 h" in texts_in(decisions["blocked"]._repr_html_())
    assert any("genes · 1 × 2" in text for text in texts_in(decisions["hit"]._repr_html_()))


def test_a_run_shows_its_steps() -> None:
    """A run shows when it began, and each step with its outcome."""
    steps = [
        {"step_name": "genes", "details": {"outcome": "hit", "calls": 2, "elapsed_s": 90.0}},
        {"step_name": "<own>"},
    ]
    started_at = datetime(2026, 2, 16, 10, 0, tzinfo=UTC)
    texts = texts_in(run_view("abc", started_at, {"config": "config.yaml"}, steps))
    assert texts[:2] == ["run abc", " · begun 2026-02-16 10:00 UTC, 2 steps"]
    assert texts[2:4] == ["config", "config.yaml"]
    assert [text for text in texts if text in ("hit", "2", "1.5 min", "<own>")] == [
        *("hit", "2", "1.5 min", "<own>"),
    ]


def test_the_present_run_has_a_view(entry: Entry) -> None:
    """A run shows its store, and what was done in it."""
    with run(store="store.duckdb"):
        entries("genes")
        current_run().record_step("filtered", {"why": NASTY})
        texts = texts_in(current_run()._repr_html_())
    assert any(text.endswith("store.duckdb (run(...))") for text in texts)
    assert "filtered" in texts


def test_a_store_has_a_view(entry: Entry) -> None:
    """A store shows what it uses, name by name; a closed one only where it is."""
    with PipelineStore("store.duckdb") as store:
        texts = texts_in(store._repr_html_())
        assert texts[0] == "store.duckdb"
        assert "genes" in texts
        assert texts_in(store.usage()._repr_html_())[0] == "store.duckdb"
    assert texts_in(store._repr_html_()) == [
        *("store.duckdb", " · closed", "place", "store.duckdb"),
    ]


def test_a_long_word_is_no_reason_to_hide_what_stands_beside_it() -> None:
    """A long text is broken anywhere, a short one nowhere, and what is left over scrolls."""
    shown = view("title", {"made by": "x" * 100}, [Table(("a", "b"), [("y" * 100, "1 kB")])])
    (box, *_) = re.findall('style="([^"]*)"', shown)
    assert {"overflow-x:auto", "overflow-wrap:anywhere"} <= set(box.split(";"))
    styles = {text: style for style, text in re.findall('style="([^"]*)">([^<]+)<', shown)}
    broken = {text for text, style in styles.items() if "white-space:nowrap" not in style}
    assert broken == {"x" * 100, "y" * 100}
