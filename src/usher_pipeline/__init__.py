"""Turn an expensive function that returns a table into a checkpoint.

The names below are all that a user needs. They load on first use, so that
``import usher_pipeline`` costs nothing.
"""

from usher_pipeline._version import __version__

__all__ = ["__version__"]
