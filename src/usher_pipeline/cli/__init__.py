"""The command ``usher``: what is stored, how it came about, and what is to become of it.

Each command calls a function that returns a value; pure functions make text or JSON of it.
"""

from __future__ import annotations

from usher_pipeline.cli.commands import main, usher

__all__ = ["main", "usher"]
