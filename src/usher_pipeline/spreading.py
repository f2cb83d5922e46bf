"""A call for many items: what is stored of them, and which have to be asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from usher_pipeline import calls, reading
from usher_pipeline.display import described, duration, preview
from usher_pipeline.errors import OptionError, UnsupportedFrameError
from usher_pipeline.fingerprint.content import combine
from usher_pipeline.fingerprint.key import for_items, item_digests
from usher_pipeline.frames import adapter_for, adapter_of_kind
from usher_pipeline.hiding import HIDDEN, is_credential, without_credentials
from usher_pipeline.persistence.mapparts import Answer, DamagedRows
from usher_pipeline.persistence.maps import VERSIONED, StoredMap
from usher_pipeline.planning import CLOCK_TOLERANCE_S, compare, still_answers
from usher_pipeline.records import Blocked, Hit, Miss, Reason, utc_now
from usher_pipeline.results import LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from usher_pipeline.dispatching import Limits
    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.fingerprint.key import Measured
    from usher_pipeline.frames import Packed
    from usher_pipeline.persistence.mapindex import Index
    from usher_pipeline.persistence.maps import MapStatement
    from usher_pipeline.persistence.reads import Call
    from usher_pipeline.planning import CodePolicy
    from usher_pipeline.records import Decision, Difference, Entry, Read

__all__ = ["Coverage", "Item", "MapOptions", "Spread", "covered", "item_text", "items_in"]

#: From how many characters on an item is told by a short text.
_LONGEST_TEXT: Final = 10_000


@dataclass(frozen=True, slots=True)
class MapOptions:
    """How a function is mapped over items.

    Attributes:
        over: The parameter that takes an item, or a list of items.
        item_column: The column that says of which item a row is; empty if a call is for one.
        batch_size: How many items a call is given as a list; 0 for one, as it is.
        limits: How many calls run at a time, and so on.
        executor: Where they run; threads of this process if None.
        on_error: What to do about items that fail.
    """

    over: str
    item_column: str
    batch_size: int
    limits: Limits
    executor: Executor | None
    on_error: str

    @property
    def how(self) -> str:
        """How the function is given items, and how rows are told to be of one."""
        given = "in lists" if self.batch_size else "one at a time"
        return f"{given}, rows told by {self.item_column!r}" if self.item_column else given


class Item(NamedTuple):
    """One item of a call.

    Attributes:
        digest: What tells it from others.
        value: The item.
        shown: The item as JSON, or a short text of it as JSON.
    """

    digest: str
    value: Any
    shown: str


def item_text(value: Any, *, is_secret: bool = False) -> str:
    """Return an item as JSON; a short text as JSON where it has no form there, or may not.

    Credentials within an item are hidden, and what is very long is cut.

    Args:
        value: The item.
        is_secret: Whether nobody may see it.

    >>> item_text("USH2A"), item_text(0.5), item_text(("chr1", 5))
    ('"USH2A"', '0.5', '["chr1", 5]')
    """
    if is_secret:
        return json.dumps(HIDDEN)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(preview(value), ensure_ascii=False)
    if type(value) is str:
        shown = without_credentials(value)
        text = text if shown == value else json.dumps(shown, ensure_ascii=False)
    elif isinstance(value, (dict, list, tuple)) and HIDDEN in (
        shown := described(value, _LONGEST_TEXT * 4)
    ):
        text = json.dumps(shown, ensure_ascii=False)
    return text if len(text) <= _LONGEST_TEXT else json.dumps(preview(value))


def items_in(call: str, over: str, given: Any) -> list[Any]:
    """Return the items of an argument.

    Args:
        call: The call, for an error.
        over: The parameter.
        given: What was given: a list, a set, a series of a frame, anything that is iterated.

    Raises:
        OptionError: It is one thing and not many.
    """
    is_one = isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable)
    # An array of numpy without a dimension is one number.
    is_one = is_one or getattr(given, "ndim", 1) == 0
    adapter = adapter_for(given)
    is_frame = adapter is not None and adapter.kind.partition(".")[2] != "Series"
    if is_one or is_frame:
        raise OptionError(call, over, "the items, such as a list", preview(given))
    ways = (getattr(given, way, None) for way in ("to_list", "tolist", "to_pylist"))
    listed = next(filter(None, ways), None)
    found = list(listed()) if callable(listed) else list(given)
    if isinstance(given, (set, frozenset)):
        # In which order a set is iterated is another one in each process.
        found.sort(key=lambda item: (type(item).__name__, repr(item)))
    return found


# --- what is stored of them -------------------------------------------------------------


@dataclass(slots=True)
class Coverage:
    """What is known of the items of a call.

    Attributes:
        answers: Item → the answer that stands in the result, as far as there is one.
        missing: The items that were never answered.
        failed: Those that failed last time.
        expired: Those whose answer is too old.
        outdated: Those that had read what is another version now.
        older: Those that only older code answered.
        refreshed: Those that are asked again since somebody wants that.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    missing: list[Item] = field(default_factory=list)
    failed: list[Item] = field(default_factory=list)
    expired: list[Item] = field(default_factory=list)
    outdated: list[Item] = field(default_factory=list)
    older: list[tuple[Item, Answer]] = field(default_factory=list)
    refreshed: list[Item] = field(default_factory=list)

    @property
    def asked(self) -> set[str]:
        """The items that have to be asked."""
        lists = (self.missing, self.failed, self.expired, self.outdated, self.refreshed)
        return {
            *(item.digest for each in lists for item in each),
            *(item.digest for item, _ in self.older),
        }

    def __str__(self) -> str:
        """Return why items have to be asked, each cause with its number."""
        counts = {
            "new": len(self.missing),
            "failed before": len(self.failed),
            "expired": len(self.expired),
            "read another version": len(self.outdated),
            "of older code": len(self.older),
            "to be refreshed": len(self.refreshed),
        }
        return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def covered(  # noqa: PLR0913 - what a decision is made of
    items: Sequence[Item],
    index: Index,
    codes: frozenset[str],
    stands: Callable[[tuple[Read, ...]], bool],
    *,
    oldest: int | None = None,
    newest: int | None = None,
    refreshed_since: int | None = None,
) -> Coverage:
    """Return what is known of some items.

    Args:
        items: The items.
        index: What is stored.
        codes: The codes whose answers hold.
        stands: Tells whether what an answer read leads to the same versions now.
        oldest: Answers before that are too old, in microseconds since 1970; None for none.
        newest: Those after that were given by a clock that was wrong, and nobody knows how
            old they are; None for none.
        refreshed_since: If all are to be refreshed, the number from which on answers are
            those of this refresh.
    """
    found = Coverage()
    for item in items:
        answer = index.best(item.digest, codes)
        if refreshed_since is not None and (answer is None or answer.at < refreshed_since):
            found.refreshed.append(item)
        elif answer is None:
            older = index.other(item.digest)
            if older is not None:
                found.older.append((item, older))
            elif index.failures.get(item.digest):
                found.failed.append(item)
            else:
                found.missing.append(item)
        elif _is_too_old(answer, oldest, newest):
            found.expired.append(item)
        elif answer.reads and not stands(answer.reads):
            found.outdated.append(item)
        else:
            found.answers[item.digest] = answer
    return found


def _is_too_old(answer: Answer, oldest: int | None, newest: int | None) -> bool:
    is_old = oldest is not None and answer.moment < oldest
    return is_old or (newest is not None and answer.moment > newest)


# --- the call ---------------------------------------------------------------------------


class Spread:
    """The items of one call, and what the store knows of them.

    Args:
        wrapped: The checkpoint, which goes to other processes by where it is found.
        options: How it is mapped.
        values: The items, of which one may be there twice.
        caller: What the verbs of the map are reached by, for people.
        refresh: Why all are asked, if so.
    """

    def __init__(
        self,
        wrapped: Any,
        options: MapOptions,
        values: list[Any],
        caller: str,
        refresh: str = "",
    ) -> None:
        self.wrapped = wrapped
        self.declared: Declaration = wrapped.__usher_declaration__
        self.options = options
        self.caller = caller
        self.refresh = refresh
        self.items: list[Item] = []
        self.whole_digest = ""
        self.coverage = Coverage()
        self.common: Measured | None = None
        self._requires_map = self._is_accepting = False
        self._stored: StoredMap | None = None
        self._values = values

    # --- what it means ---

    def measured(self, planned: calls.Planned) -> Measured:
        """Return what the call means, from what the same arguments mean without a map.

        Args:
            planned: The call.
        """
        declared, over = self.declared, self.options.over
        digests = item_digests(declared, over, self._values, planned.ownership)
        is_secret = is_credential(over)
        self.items = [
            Item(digest, value, item_text(value, is_secret=is_secret))
            for digest, value in zip(digests, self._values, strict=True)
        ]
        whole, self.common = for_items(
            declared, planned.measured, over, self.options.how, planned.ownership
        )
        self.whole_digest = whole.digest
        return whole

    @property
    def shared(self) -> Measured:
        """What the items have in common."""
        assert self.common is not None  # noqa: S101 - it is measured before it is asked for
        return self.common

    @property
    def map_digest(self) -> str:
        """The digest of the map, which is that of what its items have in common."""
        return self.shared.digest

    @property
    def flight(self) -> str:
        """The digest of what only one call at a time may be at.

        One call at a time adds to a map. Whose items are all stored waits for none.
        """
        is_adding = self._requires_map or self._is_accepting or self.asks or self.refresh
        return self.map_digest if is_adding else self.whole_digest

    def require_map(self) -> None:
        """Hold the whole map from now on, whatever is known of the items."""
        self._requires_map = True

    @cached_property
    def code(self) -> str:
        """What the code that a call runs is called."""
        graph = self.shared.context.graph
        return graph.digest if graph is not None else VERSIONED

    @property
    def asks(self) -> bool:
        """Whether any item has to be asked."""
        return bool(self.coverage.asked)

    # --- what is to be done ---

    def stored(self, planned: calls.Planned) -> StoredMap:
        """Return what is stored of the map.

        Args:
            planned: The call.
        """
        if self._stored is None or self._stored.segments is not planned.backend.segments:
            # What was read of it once need not be read again by the same call.
            segments = planned.backend.segments
            self._stored = StoredMap(segments, self.declared.name, self.map_digest)
        return self._stored

    def decided(self, planned: calls.Planned, found: Entry | None, refresh: str) -> Decision:
        """Return what the call does.

        Args:
            planned: The call.
            found: The last result of exactly these items; None if there is none.
            refresh: Why all are asked, if so.
        """
        untracked = planned.measured.not_watched
        self._is_accepting = False
        stored = self.stored(planned)
        index, statement = stored.index(), stored.statement
        codes = frozenset((self.code,))
        if statement is not None:
            codes = statement.holding_for(self.code)
        versions = reading.Versions(planned)
        known: dict[tuple[Read, ...], bool] = {}

        def stands(reads: tuple[Read, ...]) -> bool:
            if reads not in known:
                known[reads] = versions.stand(reads, self.declared.name)
            return known[reads]

        refresh = refresh or self.refresh
        since = self.refreshed_since(statement, index) if refresh else None
        facts = planned.facts
        # Offline nothing is asked, and what probes answer is in the key of the map.
        is_any_age = facts.is_offline or bool(self.declared.probes)
        oldest, newest = (None, None) if is_any_age else self._ages()
        coverage = covered(
            self.items,
            index,
            codes,
            stands,
            oldest=oldest,
            newest=newest,
            refreshed_since=since,
        )
        self.coverage = coverage
        if refresh:
            return Miss(Reason(refresh), untracked)
        if found is not None and self._answers(found, coverage, versions):
            return Hit(found, stale=self._stale(coverage) if facts.is_offline else None)
        policy = calls.code_policy(self.declared)
        if coverage.older and policy != "recompute":
            blocked = self._of_older_code(planned, stored, policy, untracked)
            if blocked is not None:
                return blocked
        return Miss(self._reason(found), untracked)

    def _answers(self, found: Entry, coverage: Coverage, versions: reading.Versions) -> bool:
        """Tell whether a result is still that of these items."""
        if not still_answers(found, versions.of(found)):
            return False
        if coverage.expired or coverage.outdated:
            return False
        # Where answers are gone the result is what is left of them.
        latest = found.mapped.latest if found.mapped is not None else 0
        return all(answer.at <= latest for answer in coverage.answers.values())

    def refreshed_since(self, statement: MapStatement | None, index: Index) -> int:
        """Return the number from which on answers are those of this refresh.

        Args:
            statement: What the map is; None if nothing of it was stored.
            index: What is stored of it.
        """
        refresh = statement.refresh if statement is not None else None
        if refresh is not None and refresh[0] == self.whole_digest:
            return refresh[1]
        return index.latest + 1

    def _stale(self, coverage: Coverage) -> Reason | None:
        """Return that answers are too old, and can not be asked for anew; None if not."""
        answers, ages = coverage.answers.values(), self._ages()
        expired = sum(_is_too_old(answer, *ages) for answer in answers)
        if not expired:
            return None
        return Reason(f"{expired:,} of {len(answers):,} items expired; USHER_OFFLINE is set")

    def _ages(self) -> tuple[int | None, int | None]:
        """Return between which moments answers are neither too old nor of a wrong clock."""
        age_s = self.declared.max_age_s
        if age_s is None:
            return None, None
        now_s = utc_now().timestamp()
        return round((now_s - age_s) * 1e6), round((now_s + CLOCK_TOLERANCE_S) * 1e6)

    def _of_older_code(
        self,
        planned: calls.Planned,
        stored: StoredMap,
        policy: CodePolicy,
        untracked: tuple[str, ...],
    ) -> Decision | None:
        """Decide about answers of older code; None if they are to be had anew."""
        coverage = self.coverage
        older = [answer for _, answer in coverage.older]
        elapsed_s = sum(answer.elapsed_s for answer in older)
        if policy == "accept":
            coverage.answers |= {answer.item: answer for answer in older}
            coverage.older = []
            self._is_accepting = True
            return None
        if policy == "guard" and elapsed_s < planned.run.costly_s:
            return None
        differences = self.differences(stored, older)
        words = f"{len(older):,} of {len(self.items):,} items that took {duration(elapsed_s)}"
        summary = f"{', '.join(map(str, differences)) or 'code changed'} (stored: {words})"
        reason = Reason(summary, differences)
        return Blocked(reason, None, untracked, words, elapsed_s)

    def differences(self, stored: StoredMap, older: Iterable[Answer]) -> tuple[Difference, ...]:
        """Return in what older code differs from that of now.

        Args:
            stored: What is stored of the map.
            older: Answers of older code.
        """
        now = self.shared.key()
        found: dict[str, Difference] = {}
        for code in dict.fromkeys(answer.code for answer in older):
            key = stored.code(code)
            for difference in compare(key, now) if key is not None else ():
                found.setdefault(str(difference), difference)
        return tuple(found.values())

    def _reason(self, found: Entry | None) -> Reason:
        count = len(self.coverage.asked)
        if count:
            return Reason(f"{count:,} of {len(self.items):,} items are to ask: {self.coverage}")
        if found is not None:
            return Reason("answers of its items are newer than the result")
        return Reason(f"all {len(self.items):,} items are stored")

    # --- what comes of it ---

    def restored(self, planned: calls.Planned, entry: Entry) -> Any:
        """Return the frame of a result from the rows of its items; `LOST` if it is lost.

        Args:
            planned: The call.
            entry: The result.
        """
        from usher_pipeline.fingerprint.frames import column_digests

        answers = self.coverage.answers
        self._list_again(planned, entry)
        if planned.backend.segments.segment(entry).exists():
            # To map it is quicker.
            return LOST
        if len(answers) < len({item.digest for item in self.items}):
            return LOST
        try:
            packed = self.gathered(self.stored(planned))
        except (DamagedRows, UnsupportedFrameError, ValueError):
            return LOST
        schema = dict(packed.schema)
        if combine(packed.kind, schema, column_digests(packed.table)) != entry.content:
            return LOST
        return adapter_of_kind(packed.kind).from_arrow(packed.table, packed.schema)

    def _list_again(self, planned: calls.Planned, entry: Entry) -> None:
        """Store once more which items a result is made of, if that was lost."""
        stored, facts = self.stored(planned), entry.mapped
        if facts is None or stored.listed(facts.listed) is not None:
            return
        # Who calls this map could not tell whether its result still stands.
        with suppress(OSError):
            stored.list_items(answer.item for answer in self.in_order())

    def gathered(self, stored: StoredMap) -> Packed:
        """Return the rows of all items that have an answer, in order, as one frame.

        Args:
            stored: What is stored of the map.

        Raises:
            DamagedRows: Some of them are damaged.
        """
        from usher_pipeline.frames.streams import appended

        packs = stored.all_rows(self.in_order())
        return appended(packs, adapter_of_kind(packs[0].kind))

    def in_order(self) -> list[Answer]:
        """Return the answers of all items that have one, each once, in the order asked for."""
        answers = self.coverage.answers
        asked = dict.fromkeys(item.digest for item in self.items)
        return [answers[digest] for digest in asked if digest in answers]

    def work(self, planned: calls.Planned, call: Call, before: reading.Watched) -> calls.Work:
        """Return what asks the items that are missing, and yields the rows of all.

        Args:
            planned: The call, which holds the map.
            call: Notes what the function reads.
            before: What the function was given.
        """
        from usher_pipeline.harvesting import Harvest

        stored, holds_map = self.stored(planned), planned.held == self.map_digest
        return Harvest(self, planned.bound, call, before, stored, holds_map=holds_map)
