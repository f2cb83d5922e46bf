"""Completion in shells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete

from usher_pipeline.cli import usher
from usher_pipeline.persistence.local import LocalBackend

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call


def completed(arguments: list[str], incomplete: str) -> list[str]:
    """Return what a shell offers behind some words."""
    shell = ShellComplete(usher, {}, "usher", "_USHER_COMPLETE")
    return [str(item.value) for item in shell.get_completions(arguments, incomplete)]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_script_for_each_shell(shell: str, call: Call) -> None:
    """The script that a shell reads asks `usher` for what to offer."""
    done = call("completion", shell)
    assert done.exit_code == 0
    assert "_USHER_COMPLETE" in done.output


def test_an_unknown_shell_is_wrong_usage(call: Call) -> None:
    """A shell that nobody knows is refused with those that there are."""
    done = call("completion", "csh")
    assert done.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr


def test_the_help_has_a_line_for_each_shell(call: Call) -> None:
    """What goes into the file of a shell is there to be copied, in one piece."""
    lines = [line.strip() for line in call("completion", "--help").output.splitlines()]
    for shell in ("bash", "zsh"):
        line = f'{shell}: eval "$(usher completion {shell})" in ~/.{shell}rc'
        assert line in [" ".join(each.split()) for each in lines]


def test_keys_of_a_name_are_completed(store: Path) -> None:
    """Behind --key, and for `diff`, a shell offers the keys of the name, newest first."""
    name = "cli größe 🧬"
    keys = [entry.key.digest for entry in LocalBackend(store).recent(name, None)]
    for command in ("pin", "unpin", "load", "forget"):
        arguments = [command, name, "--store", str(store), "--key"]
        assert completed(arguments, "") == keys
        assert completed(arguments, keys[1]) == keys[1:]
    assert completed(["diff", "--store", str(store), name, keys[0]], "") == keys
    assert completed(["load", "--store", str(store), "--key"], "") == []
    assert completed(["load", "..", "--store", str(store), "--key"], "") == []


@pytest.mark.parametrize("command", ["warm", "outdated"])
def test_files_are_offered_for_a_module(command: str) -> None:
    """Which modules there are is not looked for; a file of one is completed by the shell."""
    shell = ShellComplete(usher, {}, "usher", "_USHER_COMPLETE")
    offered = shell.get_completions([command], "pipe")
    assert [(item.value, item.type) for item in offered] == [("pipe", "file")]


def test_commands_are_completed() -> None:
    """A shell offers the commands."""
    assert "list" in completed([], "li")


def test_names_of_the_store_are_completed(store: Path) -> None:
    """A shell offers the names in the store, of checkpoints and of tables."""
    offered = completed(["show", "--store", str(store)], "")
    assert {"cli größe 🧬", "by_hand"} <= set(offered)
    assert completed(["show", "--store", str(store)], "by") == ["by_hand"]


def test_without_a_store_nothing_is_offered(tmp_path: Path) -> None:
    """A shell that completes sees no error."""
    assert completed(["show"], "") == []
    assert list(tmp_path.iterdir()) == []
