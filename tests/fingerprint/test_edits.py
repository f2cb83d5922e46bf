"""A checkpoint that is called in a fresh process after an edit: whether it runs, and why."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from filelock import FileLock

DRIVER: Final = Path(__file__).with_name("edited_processes.py")

_spec = importlib.util.spec_from_file_location(
    "edits_of_code", Path(__file__).with_name("test_code.py")
)
assert _spec is not None
assert _spec.loader is not None
_table = importlib.util.module_from_spec(_spec)
sys.modules["edits_of_code"] = _table
_spec.loader.exec_module(_table)

#: The roots that reach a stand-in for a checkpoint, which knows nothing of calls.
STAND_INS: Final = frozenset(
    {"by_getattr", "by_inner_star", "by_pinned", "by_stored", "stored"}
)

#: To a helper its defaults are code; to a checkpoint they are arguments.
OF_ROOTS: Final = frozenset({"the default of the function itself"})

EDITS: Final[dict[str, Any]] = {
    case: edit
    for case, edit in _table.EDITS.items()
    if edit.root not in STAND_INS and case not in OF_ROOTS
}


def label(edit: Any) -> str:
    """Return the part that an edit changes, as seen from the checkpoint that calls the root."""
    changed = re.sub(r"^([\w.<>]+\(\))$", r"helper \1 in main.py", edit.label)
    return re.sub(r" in ([\w.<>]+\(\))$", r" in helper \1 in main.py", changed)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what each call did after its edit; one worker makes them for all."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "edits.json"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            shared.write_text(json.dumps(made()))
    found: dict[str, Any] = json.loads(shared.read_text())
    return found


def made() -> dict[str, Any]:
    """Make every edit, and call in a fresh process before and after."""
    cases = {
        case: {
            "root": edit.root,
            "module": edit.module,
            "files": _table.FILES,
            "edited": edit.files(),
        }
        for case, edit in EDITS.items()
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(DRIVER)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "USHER_LOG": "quiet"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_enough_edits_are_made() -> None:
    """At least 60 edits are tried in processes of their own, of both verdicts."""
    assert len(EDITS) >= 100
    assert sum(not edit.label for edit in EDITS.values()) >= 20


@pytest.mark.parametrize("case", EDITS)
def test_a_fresh_process_runs_again_exactly_when_it_must(
    case: str, results: dict[str, Any]
) -> None:
    """After an edit that means nothing the call is a hit; else it runs and names the part."""
    edit, found = EDITS[case], results[case]
    if edit.label:
        assert (found["kind"], found["ran"]) == ("Miss", 2), found
        assert label(edit) in found["reason"]
    else:
        assert (found["kind"], found["ran"]) == ("Hit", 1), found
