"""YAML files and overrides → plain values with the line of each, and validated configs.

Any mapping can be read; pydantic is loaded only to make a config of the pipeline of it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import yaml

from usher_pipeline.config.canonical import plain
from usher_pipeline.config.overrides import Place
from usher_pipeline.config.values import LoadedConfig
from usher_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usher_pipeline.config.schema import PipelineConfig

__all__ = [
    "LoadedConfig",
    "load_config",
    "load_config_with_overrides",
    "read_config",
    "require_file",
]

ConfigT = TypeVar("ConfigT", bound="PipelineConfig")

#: A file with more values than this multiplies its aliases, by mistake or by intent.
_MAX_VALUES: Final = 100_000

_NULL: Final = "tag:yaml.org,2002:null"
_FLOAT: Final = "tag:yaml.org,2002:float"
_TEXT: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "tag:yaml.org,2002:merge"
_VALUE: Final = "tag:yaml.org,2002:value"
#: Keys that YAML gives a meaning of their own; they are no names.
_SPECIAL: Final = (_MERGE, _VALUE)

_OVERRIDE: Final = "override"


# --- configs ----------------------------------------------------------------------------


@overload
def load_config(path: str | os.PathLike[str]) -> PipelineConfig: ...
@overload
def load_config(path: str | os.PathLike[str], *, model: type[ConfigT]) -> ConfigT: ...
def load_config(
    path: str | os.PathLike[str],
    *,
    model: type[PipelineConfig] | None = None,
) -> PipelineConfig:
    """Return the config that a YAML file states.

    Args:
        path: The file.
        model: A subclass with fields of its own; `PipelineConfig` unless given.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file is no YAML mapping.
        pydantic.ValidationError: A value is missing or bad; a note names its line.
    """
    from usher_pipeline.config.schema import PipelineConfig, validated

    loaded = read_config(path)
    return validated(model or PipelineConfig, loaded.values, loaded.origins)


@overload
def load_config_with_overrides(
    path: str | os.PathLike[str], overrides: Mapping[str, Any]
) -> PipelineConfig: ...
@overload
def load_config_with_overrides(
    path: str | os.PathLike[str], overrides: Mapping[str, Any], *, model: type[ConfigT]
) -> ConfigT: ...


def load_config_with_overrides(
    path: str | os.PathLike[str],
    overrides: Mapping[str, Any],
    *,
    model: type[PipelineConfig] | None = None,
) -> PipelineConfig:
    """Return the config that a YAML file states, with some values replaced.

    An override can set what the file or the model has. Any other name is taken for a
    typing error, even where the model would keep it as a field of the user's own.

    Args:
        path: The file.
        overrides: Dotted path → value, such as ``{"api.timeout_seconds": 5}``. Later ones
            win. A whole section is replaced, not merged.
        model: A subclass with fields of its own; `PipelineConfig` unless given.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file is no YAML mapping.
        UnknownSettingError: Neither the file nor the model has a path.
        pydantic.ValidationError: A value is missing or bad.
    """
    from usher_pipeline.config.schema import PipelineConfig, validated

    loaded = read_config(path)
    model = model or PipelineConfig
    origins = dict(loaded.origins)
    where = f"{loaded.path.name} and {model.__name__}"
    for dotted, value in overrides.items():
        Place(dotted, where).put(loaded.values, model, plain(value))
        origins = {
            known: origin
            for known, origin in origins.items()
            if known != dotted and not known.startswith(f"{dotted}.")
        }
        origins[dotted] = _OVERRIDE
    return validated(model, loaded.values, origins)


# --- files ------------------------------------------------------------------------------


def require_file(path: Path, named_by: str = "") -> None:
    """Check that there is a config file where somebody says that there is one.

    Args:
        path: Where it should be.
        named_by: Who says so, such as ``USHER_CONFIG``.

    Raises:
        FileNotFoundError: There is nothing.
        ConfigError: There is a folder.
    """
    if path.is_dir():
        raise ConfigError(path, "it is a folder, expected a YAML file")
    if not path.exists():
        by = f" (named by {named_by})" if named_by else ""
        raise FileNotFoundError(
            errno.ENOENT, f"There is no config file here{by}; nothing was run", str(path)
        )


def read_config(path: str | os.PathLike[str], *, named_by: str = "") -> LoadedConfig:
    """Return the values of a YAML file, each with its line.

    Values are what YAML's safe types make of them. A value that comes in by an anchor
    and a merge key (``<<: *base``) has the line at which it is stated.

    Args:
        path: The file; ``~`` is the home folder.
        named_by: Who named the file, for the error when it is missing.

    Returns:
        The values; none for an empty file.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: It is no YAML, no mapping, or states a key twice.
    """
    file = Path(os.path.expanduser(path))  # noqa: PTH111 - `~stranger` stays, and is missing
    require_file(file, named_by)
    content = file.read_bytes()
    try:
        return _Document(file, _Loader(content)).read()
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as problem:
        raise ConfigError(file, _described(problem)) from problem
    except RecursionError as problem:
        raise ConfigError(file, "it is nested too deeply") from problem
    except (yaml.YAMLError, ValueError) as problem:
        # ValueError: a date such as 2026-02-30 has the form of one and is none.
        raise ConfigError(file, " ".join(str(problem).split())) from problem


def _described(problem: yaml.MarkedYAMLError) -> str:
    what = " ".join(part for part in (problem.context, problem.problem) if part)
    mark = problem.problem_mark or problem.context_mark
    return what if mark is None else f"{what} (line {mark.line + 1}, column {mark.column + 1})"


class _Loader(yaml.SafeLoader):
    """YAML's safe types; of several merged mappings the first has the word.

    So says the type repository of YAML 1.1 (https://yaml.org/type/merge.html). PyYAML 6.0.4
    gives the word to the last one, so a value would depend on the version that is installed.
    """

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the pairs that a merge key brings in before the mapping's own."""
        sources = [child for key, child in node.value if key.tag == _MERGE]
        own = [(key, child) for key, child in node.value if key.tag != _MERGE]
        for key, _ in own:
            key.tag = _TEXT if key.tag == _VALUE else key.tag
        # Set first: a mapping that merges itself must not do so for ever.
        node.value = own
        brought: dict[tuple[str, Any], tuple[yaml.Node, yaml.Node]] = {}
        for source in sources:
            for mapping in self._mappings(node, source):
                self.flatten_mapping(mapping)
                for key, child in mapping.value:
                    brought.setdefault((key.tag, key.value), (key, child))
        node.value = [*brought.values(), *own]

    def _mappings(self, around: yaml.Node, source: yaml.Node) -> list[yaml.MappingNode]:
        several = isinstance(source, yaml.SequenceNode)
        found: list[yaml.Node] = source.value if several else [source]
        mappings = [each for each in found if isinstance(each, yaml.MappingNode)]
        if len(mappings) != len(found):
            raise yaml.constructor.ConstructorError(
                "while constructing a mapping",
                around.start_mark,
                "expected a mapping to merge, or a list of mappings",
                source.start_mark,
            )
        return mappings


class _Document:
    """One pass over one file."""

    def __init__(self, file: Path, loader: yaml.SafeLoader) -> None:
        self.file = file
        self.loader = loader
        self.origins: dict[str, str] = {}
        self.texts: dict[str, str] = {}

    def read(self) -> LoadedConfig:
        try:
            root = self.loader.get_single_node()
            if root is None or root.tag == _NULL:
                return LoadedConfig(self.file, {}, {})
            self._check_keys(root, set())
            self._locate(root, (), frozenset())
            values = self.loader.construct_document(root)
        finally:
            self.loader.dispose()
        if not isinstance(values, dict):
            raise ConfigError(
                self.file,
                f"expected names with values at the top, got a {type(values).__name__}",
            )
        # YAML hands out one object for all aliases of a node; copies part them.
        return LoadedConfig(self.file, plain(values), self.origins, self.texts)

    def _check_keys(self, node: yaml.Node, seen: set[int]) -> None:
        """Refuse keys that stand twice, before merge keys are resolved."""
        if id(node) in seen:
            return
        seen.add(id(node))
        lines: dict[Any, int] = {}
        for key, child in _children(node):
            if key is not None:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise ConfigError(self.file, f"a key is no plain text (line {line})")
                name = self._name(key)
                if name in lines:
                    raise ConfigError(
                        self.file,
                        f"the key {name!r} stands twice, on lines {lines[name]} and {line}",
                    )
                lines[name] = line
            self._check_keys(child, seen)

    def _name(self, key: yaml.Node) -> Any:
        special = key.tag in _SPECIAL
        return key.value if special else self.loader.construct_object(key, deep=True)

    def _locate(self, node: yaml.Node, path: tuple[str, ...], above: frozenset[int]) -> None:
        """Note the line of every value below a node."""
        if id(node) in above:
            raise ConfigError(self.file, f"{'.'.join(path)!r} contains itself")
        if len(self.origins) > _MAX_VALUES:
            raise ConfigError(self.file, f"it has more than {_MAX_VALUES:,} values")
        if node.tag == _FLOAT:
            self.texts[".".join(path)] = str(node.value)
        for name, line, child in self._effective(node):
            below = (*path, name)
            self.origins[".".join(below)] = f"{self.file.name}:{line}"
            self._locate(child, below, above | {id(node)})

    def _effective(self, node: yaml.Node) -> list[tuple[str, int, yaml.Node]]:
        """Return what counts in a node: merged pairs first, own ones in their place."""
        if isinstance(node, yaml.MappingNode):
            self.loader.flatten_mapping(node)
        found: dict[Any, tuple[str, int, yaml.Node]] = {}
        for index, (key, child) in enumerate(_children(node)):
            name = index if key is None else self._name(key)
            mark = (key or child).start_mark
            found[name] = (str(name), mark.line + 1, child)
        return list(found.values())


def _children(node: yaml.Node) -> list[tuple[yaml.Node | None, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return list(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [(None, child) for child in node.value]
    return []
