"""Write the golden digests anew, after a change of the rules.

Run it as ``python tests/fingerprint/golden.py``. Digests that change make every store miss,
so that is a change of `KEY_RULES` too.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

HERE = Path(__file__).parent


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while they are made.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    digests = {
        "values": _module("test_values").reported(),
        "code": _module("test_code").meanings(),
    }
    text = json.dumps(digests, indent=1, ensure_ascii=False)
    (HERE / "golden.json").write_text(f"{text}\n", encoding="utf-8")
