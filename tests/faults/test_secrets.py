"""A secret that is given to a function is found nowhere afterwards."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from pydantic import BaseModel, SecretStr

from usher_pipeline import checkpoint, configure, current_run, export, run
from usher_pipeline.errors import UsherError
from usher_pipeline.persistence import PipelineStore, publisher
from usher_pipeline.persistence.local import resolved

if TYPE_CHECKING:
    import pytest

#: What must be nowhere; no two calls have the same, so that each part is looked for.
PLANTED: Final = "pl4nted-t0ken-{}-of-n0body"
STORE: Final = Path("store.duckdb")


class Client(BaseModel):
    """What a function needs to ask somebody."""

    url: str = "https://api.example.org"
    key: SecretStr = SecretStr(PLANTED.format("model"))


def table() -> pl.DataFrame:
    """Return a small frame."""
    return pl.DataFrame({"n": [1, 2]})


@checkpoint(name="with_a_key")
def with_a_key(term: str, api_key: str) -> pl.DataFrame:
    """Take a secret under a name that says so."""
    return table()


@checkpoint(name="with_a_secret")
def with_a_secret(term: str, secret: SecretStr) -> pl.DataFrame:
    """Take a secret of a type that says so."""
    return table()


@checkpoint(name="with_a_client")
def with_a_client(term: str, client: Client) -> pl.DataFrame:
    """Take an object that holds a secret."""
    return table()


@checkpoint(name="with_a_mapping")
def with_a_mapping(term: str, options: dict[str, Any]) -> pl.DataFrame:
    """Take a mapping with secrets in it."""
    return table()


@checkpoint(name="with_keywords")
def with_keywords(term: str, **more: Any) -> pl.DataFrame:
    """Take secrets that no parameter is named for."""
    return table()


@checkpoint(name="with_a_failure")
def with_a_failure(term: str, password: str) -> pl.DataFrame:
    """Fail, and say nothing of the secret."""
    raise ConnectionError(f"{term} is not there")


def planted(place: str) -> str:
    """Return the token of a place."""
    return PLANTED.format(place)


def calls() -> list[Any]:
    """Return every call that takes a secret."""
    options = {"token": planted("mapping"), "deep": {"Authorization": planted("deep")}}
    return [
        lambda term: with_a_key(term, planted("positional")),
        lambda term: with_a_key(term, api_key=planted("keyword")),
        lambda term: with_a_secret(term, SecretStr(planted("secret"))),
        lambda term: with_a_client(term, Client()),
        lambda term: with_a_mapping(term, options),
        lambda term: with_keywords(term, access_token=planted("more")),
        lambda term: with_a_failure(term, planted("failure")),
    ]


def said_by(act: Any) -> str:
    """Return what an action gives, or what its error says and carries."""
    try:
        return repr(act())
    except (UsherError, ConnectionError) as problem:
        return f"{problem!r} {problem} {getattr(problem, '__dict__', '')}"


def files_below(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_planted_token_is_nowhere(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in the store, its database, sidecars, logs, errors, reasons, or what is printed."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    with run(store=STORE) as block:
        for call in calls():
            said += [said_by(lambda call=call: call("BRCA2")) for _ in range(2)]
            said.append(said_by(lambda call=call: call("USH2A")))
        every: tuple[Any, ...] = (
            with_a_key,
            with_a_secret,
            with_a_client,
            with_a_mapping,
            with_keywords,
        )
        for function, secret in zip(
            every,
            (
                planted("asked"),
                SecretStr(planted("asked")),
                Client(key=SecretStr(planted("asked"))),
                {"token": planted("asked")},
                planted("asked"),
            ),
            strict=True,
        ):
            more = {"access_token": secret} if function is with_keywords else None
            arguments = ("MYO7A",) if more else ("MYO7A", secret)
            for verb in ("explain", "key", "load", "accept"):
                act = getattr(function, verb)
                said.append(said_by(lambda: act(*arguments, **(more or {}))))  # noqa: B023
            said += [repr(entry) for entry in function.entries()]
        export(with_a_key("USH2A", api_key=planted("keyword")), "out/genes.parquet")
        said.append(json.dumps(block.provenance(), default=str))
        said.append(json.dumps(current_run().steps(), default=str))
        said.append(repr(pickle.dumps(with_a_key.key("USH2A", planted("keyword")))))
    with PipelineStore(STORE) as store:
        said += [str(store.usage()), str(store.verify()), str(store.list_checkpoints())]
    assert publisher.wait(resolved(STORE), 30)
    command = [sys.executable, "-m", "usher_pipeline", "show", "with_a_key"]
    shown = subprocess.run(
        command,
        env={**os.environ, "USHER_STORE": str(STORE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    out, err = capfd.readouterr()
    found = files_below(Path())
    texts = {"said": said, "logged": [caplog.text], "printed": [out, err, shown.stdout]}

    assert len(found) > 20
    places = [name for name, data in found.items() if b"pl4nted" in data]
    places += [name for name, each in texts.items() if any("pl4nted" in text for text in each)]
    assert places == []
    # The parts that may be seen are there: the search looks in the right places.
    assert any(b"USH2A" in data for data in found.values())
    assert any("USH2A" in text for text in said)


def test_another_secret_is_told_by_its_name_alone() -> None:
    """A key that differs in a secret says which argument it is, and how to leave it out."""
    configure(store=STORE)
    with_a_key("USH2A", planted("one"))
    reason = str(with_a_key.explain("USH2A", planted("two")))
    assert "pl4nted" not in reason
    assert "api_key" in reason
    assert re.search(r"ignore=\[.api_key.\]", reason)


def test_new_files_are_for_their_owner_alone() -> None:
    """Whatever the mask says, what a store is made of can be read by nobody else."""
    before = os.umask(0)
    try:
        with run(store=STORE):
            with_a_key("USH2A", "one")
    finally:
        os.umask(before)
    assert publisher.wait(resolved(STORE), 30)
    folder = Path("store.checkpoints")
    modes = {path: path.stat().st_mode & 0o077 for path in (STORE, folder, *folder.rglob("*"))}
    assert {str(path): oct(mode) for path, mode in modes.items() if mode} == {}
