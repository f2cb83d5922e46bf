"""The version of the distribution, written in one place."""

__version__ = "0.1.0"
