"""The frame of all commands: help, exit codes, errors, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

import usher_pipeline
from usher_pipeline.cli import main, usher
from usher_pipeline.cli.commands import _HOMES
from usher_pipeline.errors import UsherError
from usher_pipeline.persistence import contents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call

COMMANDS = list(_HOMES)


def test_the_version(call: Call) -> None:
    """`usher --version` says which version it is."""
    expected = f"usher, version {usher_pipeline.__version__}"
    assert call("--version").output.strip() == expected


def test_usher_alone_is_its_help(call: Call) -> None:
    """Without a command the help is printed, and that is no error."""
    assert call().output == call("--help").output
    assert call().exit_code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_reads_well_at_80_columns(command: str, call: Call) -> None:
    """Each command has a help that fits, of whole sentences, with a text for each option."""
    done = call(command, "--help")
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 80
    assert "\\b" not in done.output
    found = usher.get_command(click.Context(usher), command)
    assert found is not None
    assert found.name == command
    assert found.help is not None
    assert found.help.partition("\n")[0].endswith(".")
    for option in found.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.help.endswith("."), option.name


def test_the_list_of_commands_cuts_no_sentence(call: Call) -> None:
    """In the list of commands each has its first sentence in full."""
    listed = call("--help").output
    assert "..." not in listed.partition("Commands:")[2]
    assert max(map(len, listed.splitlines())) <= 80
    for command in COMMANDS:
        assert f"\n  {command} " in listed


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "completion"])
def test_every_command_speaks_json(command: str) -> None:
    """Each command that tells something has --json and --debug."""
    found = usher.get_command(click.Context(usher), command)
    assert found is not None
    options = {name for param in found.params for name in param.opts}
    assert {"--json", "--debug"} <= options


def test_a_command_that_there_is_not(call: Call) -> None:
    """An unknown command is wrong usage: exit code 2, with how it is called."""
    done = call("lost")
    assert done.exit_code == 2
    line, hint = done.stderr.splitlines()
    assert line == "usher: No such command 'lost'."
    assert hint == "hint: `usher --help` says how it is called."


def test_a_terminal_obeys_no_error(
    store: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an error repeats of somebody's names can not move the cursor."""

    def fail(*_: Any, **__: Any) -> Iterator[None]:
        raise UsherError("Of a\x1b[2Jb nothing is stored. Give c\x9bd.")

    monkeypatch.setattr(contents, "named", fail)
    said = call("list", "--store", store).stderr.splitlines()
    assert said == ["usher: Of a·[2Jb nothing is stored.", "hint: Give c·d."]


def test_an_error_for_programs(store: Path, call: Call) -> None:
    """With --json an error is an object on stderr, with its class, hint and exit code."""
    done = call("show", "no", "--store", store, "--json")
    assert done.stdout == ""
    said = json.loads(done.stderr)
    assert said["exit_code"] == done.exit_code == 3
    assert said["error"]["kind"] == "UnknownTableError"
    assert said["error"].keys() == {"kind", "problem", "hint"}


@pytest.fixture
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let listing fail in a way that nobody thought of."""

    def fail(*_: Any, **__: Any) -> Iterator[None]:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(contents, "named", fail)


@pytest.mark.usefixtures("_broken")
def test_a_slip_is_one_line(store: Path, call: Call) -> None:
    """An error that nobody thought of is a line and the hint to --debug as well."""
    done = call("list", "--store", store)
    assert done.stderr.splitlines() == [
        "usher: ZeroDivisionError: a slip",
        "hint: --debug shows where it was raised.",
    ]
    assert done.exit_code == 1


@pytest.mark.usefixtures("_broken")
def test_debug_shows_the_traceback(store: Path, call: Call) -> None:
    """With --debug the traceback comes before the line."""
    said = call("list", "--store", store, "--debug").stderr
    assert said.startswith("Traceback (most recent call last):")
    assert "usher: ZeroDivisionError: a slip" in said


def test_ctrl_c_is_130(store: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command with the exit code that shells know, and no traceback."""

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(contents, "named", stop)
    done = call("list", "--store", store)
    assert done.exit_code == 130
    assert done.stderr.strip() == "usher: stopped by Ctrl-C."


def test_main_ends_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    """The entry point exits with the code of the command."""
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert "usher, version" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["lost"])


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_terminal_without_the_letters(store: Path, options: list[str]) -> None:
    """Where a name can not be encoded it is shown with escapes, and JSON stays JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "usher_pipeline", "list", "--store", str(store), *options],
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        encoding="latin-1",
        check=True,
    )
    assert done.stderr == ""
    if options:
        assert "cli größe 🧬" in {each["name"] for each in json.loads(done.stdout)["names"]}
    else:
        assert "cli größe \\U0001f9ec" in done.stdout


def test_a_pipe_that_is_closed_is_no_traceback(store: Path) -> None:
    """Whoever reads the first line alone, as `head` does, sees no error of ours."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "usher_pipeline", "list", "--store", str(store)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1
