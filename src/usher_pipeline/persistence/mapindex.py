"""What is known of the items of a map, by item and by the code that answered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usher_pipeline.persistence.mapparts import Answer

__all__ = ["Index", "index_of"]


@dataclass(frozen=True, slots=True)
class Index:
    """What is known of the items of a map.

    Attributes:
        answers: Item → code → the last answer with rows, or with none.
        failures: Item → code → the last failure, if nothing was answered since.
        latest: The number of the last answer; 0 if there is none.
    """

    answers: dict[str, dict[str, Answer]] = field(default_factory=dict)
    failures: dict[str, dict[str, Answer]] = field(default_factory=dict)
    latest: int = 0

    def best(self, item: str, codes: frozenset[str]) -> Answer | None:
        """Return the last answer of an item that one of some codes made; None if none did.

        Args:
            item: The digest of the item.
            codes: The codes.
        """
        of_item = self.answers.get(item)
        if of_item is None:
            return None
        if len(of_item) == 1:
            (answer,) = of_item.values()
            return answer if answer.code in codes else None
        fit = [answer for code, answer in of_item.items() if code in codes]
        return max(fit, key=lambda answer: answer.at, default=None)

    def other(self, item: str) -> Answer | None:
        """Return the last answer of an item, whichever code made it."""
        return max(
            self.answers.get(item, {}).values(), key=lambda answer: answer.at, default=None
        )


def index_of(answers: Iterable[Answer]) -> Index:
    """Return what is known of each item, whatever the order in which it was said.

    Args:
        answers: All that was said of any.
    """
    found = Index()
    latest = 0
    for answer in answers:
        latest = max(latest, answer.at)
        item, code = answer.item, answer.code
        known = found.answers.get(item)
        before = known.get(code) if known is not None else None
        if answer.error is None:
            if before is None or answer.at >= before.at:
                found.answers.setdefault(item, {})[code] = answer
            failed = found.failures.get(item)
            if failed is not None and code in failed and failed[code].at < answer.at:
                del failed[code]
        elif before is None or answer.at > before.at:
            found.failures.setdefault(item, {})[code] = answer
    return replace(found, latest=latest)
