"""``python -m usher_pipeline`` is ``usher``."""

from __future__ import annotations

from usher_pipeline.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
