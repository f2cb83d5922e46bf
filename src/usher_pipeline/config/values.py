"""A read-only view over a config: look-ups by dotted path, each value with its origin.

A view is made of whatever a config may be: a YAML file, a mapping, a model, nothing.
Neither pydantic nor YAML is loaded before one is needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from usher_pipeline.config.canonical import digest, members, plain
from usher_pipeline.errors import ConfigError, UnknownSettingError, UnknownSourceError
from usher_pipeline.fingerprint.files import signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usher_pipeline.fingerprint.files import Signature

__all__ = [
    "REQUIRED",
    "ConfigView",
    "Loaded",
    "LoadedConfig",
    "Setting",
    "view",
]

#: Stands for "no default": a path that is missing is an error.
REQUIRED: Final[Any] = type("Required", (), {"__repr__": lambda _: "REQUIRED"})()

#: The section that states the versions of sources.
_VERSIONS: Final = "versions"

#: What the field of a source may end with; ``gnomad`` is found as ``gnomad_version``.
_SUFFIXES: Final = ("_version", "_release")

_DEFAULT: Final = "default"

#: What is in force when nobody names a config.
_NO_CONFIG: Final = "no config"


@dataclass(frozen=True, slots=True)
class Setting:
    """A config value and where it was stated.

    Attributes:
        value: The value, as plain data.
        origin: Where it was stated, such as ``config.yaml:12``, or ``default``.
    """

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """What a config file says, and where.

    Attributes:
        path: The file.
        values: Its values as plain data.
        origins: Dotted path → file name and line, such as ``config.yaml:12``.
        texts: Dotted path → how a number with a point is written there.
    """

    path: Path
    values: dict[str, Any]
    origins: Mapping[str, str]
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """Where a config was read from. It has no part in the equality of configs.

    Attributes:
        origins: Dotted path → where the value was stated.
        values: What the values were then; a value that differs now was stated later.
    """

    origins: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Return True for any other `Loaded`."""
        return isinstance(other, Loaded)

    def __hash__(self) -> int:
        """Return one number for all, as equality asks for."""
        return hash(Loaded)


@final
@dataclass(frozen=True, slots=True)
class ConfigView:
    """A config that can be read and not changed.

    Attributes:
        name: What it is, such as ``config.yaml``.
        origin: Who chose it, such as ``run(...)``; may be empty.
    """

    name: str
    origin: str = ""
    _values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _origins: Mapping[str, str] = field(default_factory=dict, repr=False)
    _texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    _digest: str = field(default="", repr=False)

    @property
    def where(self) -> str:
        """Which config this is and who chose it, for people."""
        return f"{self.name} ({self.origin})" if self.origin else self.name

    @property
    def _searched(self) -> str:
        """Which config an error has to name; empty where there is none."""
        return "" if self.name == _NO_CONFIG else self.where

    @property
    def duckdb_path(self) -> Path | None:
        """The database that the config names, as written but for ``~``."""
        value = self._values.get("duckdb_path")
        if value is None:
            return None
        if not isinstance(value, (str, os.PathLike)):
            found = type(value).__name__
            raise ConfigError(self.name, f"duckdb_path: expected a path, got {found}")
        return Path(os.path.expanduser(value))  # noqa: PTH111 - `~stranger` is a name

    def get(self, path: str, *, default: Any = REQUIRED) -> Setting:
        """Return the value at a dotted path; of a section, all of it.

        Args:
            path: Such as ``api.page_size``; a number counts into a list.
            default: What to return when the config has no such path.

        Raises:
            UnknownSettingError: There is no such path and no default.

        >>> view({"api": {"page_size": 500}}).get("api.page_size").value
        500
        """
        try:
            return Setting(
                plain(_found(self._values, path, self._searched)), self._origin(path)
            )
        except UnknownSettingError:
            if default is REQUIRED:
                raise
            return Setting(default, _DEFAULT)

    def section(self, path: str = "") -> Any:
        """Return the plain data at a dotted path; everything for the empty path.

        Raises:
            UnknownSettingError: There is no such path.
        """
        return self.get(path).value if path else plain(self._values)

    def sources(self) -> dict[str, Setting]:
        """Return every source that has a version, under the short names.

        >>> sources = view({"versions": {"ensembl_release": 113, "clinvar": "2026-01"}})
        >>> sorted(sources.sources())
        ['clinvar', 'ensembl']
        """
        stated = self._values.get(_VERSIONS)
        if not isinstance(stated, Mapping):
            return {}
        shorts = [_short(str(key)) for key, value in stated.items() if not _is_blank(value)]
        return {short: self.source(short) for short in shorts}

    def source(self, name: str) -> Setting:
        """Return the version of a source.

        A number with a point is returned as the file writes it, since the releases 23.1
        and 23.10 are not one.

        Args:
            name: The field under `versions`, with or without its ending.

        Raises:
            UnknownSourceError: No version is stated, or it is left blank.

        >>> view({"versions": {"gnomad_version": "v4.1"}}).source("gnomad").value
        'v4.1'
        """
        stated = self._values.get(_VERSIONS)
        names = {str(key): key for key in stated} if isinstance(stated, Mapping) else {}
        blank = ""
        for candidate in (name, *(f"{name}{suffix}" for suffix in _SUFFIXES)):
            if candidate in names and isinstance(stated, Mapping):
                path = f"{_VERSIONS}.{candidate}"
                value = self._texts.get(path, plain(stated[names[candidate]]))
                if not _is_blank(value):
                    return Setting(value, self._origin(path))
                blank = f", where {path} is left blank ({self._origin(path)})"
        raise UnknownSourceError(name, sorted(self.sources()), f"{self._searched}{blank}")

    def config_hash(self) -> str:
        """Return the digest of every value.

        A model answers for itself. The digest of a file is that of what it says, so it
        differs from that of the model which fills in the defaults.
        """
        return self._digest or digest(self._values)

    def _origin(self, path: str) -> str:
        """Return where a path was stated, or the nearest section around it."""
        while path:
            if path in self._origins:
                return self._origins[path]
            path = path.rpartition(".")[0]
        return self.origin or self.name


def _is_blank(version: Any) -> bool:
    return version is None or version == ""


def _short(name: str) -> str:
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix)
    return name


def _keys(container: Any) -> dict[str, Any]:
    if isinstance(container, Mapping):
        return {str(key): key for key in container}
    if isinstance(container, list):
        return {str(index): index for index in range(len(container))}
    return {}


def _found(values: Any, path: str, where: str) -> Any:
    """Walk a dotted path; a key that holds dots itself is found as well."""
    done: list[str] = []
    rest = path.split(".")
    while rest:
        keys = _keys(values)
        for length in range(len(rest), 0, -1):
            name = ".".join(rest[:length])
            if name in keys:
                values = values[keys[name]]
                done.append(name)
                rest = rest[length:]
                break
        else:
            raise UnknownSettingError(path, [".".join([*done, key]) for key in keys], where)
    return values


# --- making a view ----------------------------------------------------------------------


def view(config: Any = None, origin: str = "") -> ConfigView:
    """Return a view over a config.

    Args:
        config: The path of a YAML file, a mapping, a `PipelineConfig` or another model, a
            view, or None for no config.
        origin: Who chose it, such as ``run(...)``; for messages.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file is no YAML mapping, or `config` is nothing of the kind.
    """
    if isinstance(config, ConfigView):
        return config
    if config is None:
        return ConfigView(_NO_CONFIG)
    if isinstance(config, (str, os.PathLike)):
        config = _document(Path.cwd() / os.path.expanduser(config), origin)  # noqa: PTH111 - quick
    if isinstance(config, LoadedConfig):
        return ConfigView(config.path.name, origin, config.values, config.origins, config.texts)
    pairs = None if isinstance(config, type) else members(config)
    if pairs is None:
        found = type(config).__name__
        problem = f"expected a path, a mapping or a model, got {found}"
        raise ConfigError(origin or found, problem)
    return _of_object(config, origin)


def _of_object(config: Any, origin: str) -> ConfigView:
    if isinstance(config, Mapping):
        return ConfigView("mapping", origin, plain(config))
    name = type(config).__name__
    values = plain(config)
    origins = dict(_set_or_default(config, "", origin or name))
    if isinstance(loaded := getattr(config, "_loaded", None), Loaded):
        origins |= _still_true(loaded.origins, loaded.values, values)
    own_hash = getattr(config, "config_hash", None)
    return ConfigView(
        name, origin, values, origins, {}, own_hash() if callable(own_hash) else ""
    )


def _set_or_default(value: Any, path: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield for every field of a model whether somebody set it."""
    fields_set = getattr(value, "model_fields_set", None)
    for key, child in members(value) or ():
        below = f"{path}.{key}" if path else str(key)
        if fields_set is not None:
            yield below, name if key in fields_set else _DEFAULT
        yield from _set_or_default(child, below, name)


def _still_true(
    origins: Mapping[str, str], then: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, str]:
    """Return the origins of the values that are what they were when they were read."""
    kept = {}
    for path, origin in origins.items():
        try:
            if _found(then, path, "") == _found(now, path, ""):
                kept[path] = origin
        except UnknownSettingError:
            continue
    return kept


# --- files that are read again only when they changed -------------------------------------

_MOST_DOCUMENTS: Final = 64

_documents: Final[dict[str, tuple[Signature, LoadedConfig]]] = {}


def _document(path: Path, named_by: str) -> LoadedConfig:
    found = signature(path)
    known = _documents.get(str(path))
    if known is not None and found is not None and known[0] == found[0]:
        return known[1]

    from usher_pipeline.config.loader import read_config

    loaded = read_config(path, named_by=named_by)
    if found is not None and found[1]:
        if len(_documents) >= _MOST_DOCUMENTS:
            _documents.clear()
        _documents[str(path)] = (found[0], loaded)
    return loaded
