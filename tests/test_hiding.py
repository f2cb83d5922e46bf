"""Credentials are told by their names, and by the form that they have within a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.display import described, preview
from usher_pipeline.hiding import is_credential, without_credentials

SECRET = "planted0token0zz"  # noqa: S105 - it is looked for


@pytest.mark.parametrize(
    "name",
    [
        *("X-Api-Key", "api-key", "apiKey", "APIKey", "apikey", "access-key", "auth-key"),
        *("dbPassword", "userPassword", "password1", "PGPASSWORD", "clientSecret", "token1"),
        *("auth", "bearer", "jwt", "cookie", "Set-Cookie", "githubtoken", "GITHUB_TOKEN"),
        *("ssh_key", "encryption_key", "dsn", "connection_string", "AWS_SECRET_ACCESS_KEY"),
        *("Authorization", "Proxy-Authorization", "credentials", "passphrase", "pwd"),
    ],
)
def test_names_of_credentials(name: str) -> None:
    """However it is written, the name tells."""
    assert is_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        *("key", "key_column", "keys", "primary_key", "gene", "author", "authors", "tokenizer"),
        *("secretory", "secretome", "signature", "session_id", "passing", "cookiecutter", ""),
        *("min_depth", "compass", "bearing", "api", "string", "connection"),
    ],
)
def test_names_of_other_things(name: str) -> None:
    """A word that only begins or ends like one is none."""
    assert not is_credential(name)


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{SECRET}@host/x",
        f"https://{SECRET}@github.com/x",
        f"postgresql://me:{SECRET}@db:5432/x",
        f"https://host/x?api_key={SECRET}&q=1",
        f"https://host/x?q=1&access_token={SECRET}",
        f"host=db user=me password={SECRET}",
        f'password = "{SECRET}"',
        f"Bearer {SECRET}",
        f"Authorization: Basic {SECRET}",
        f"X-Api-Key: {SECRET}",
        f"ConnectionError: password={SECRET} is wrong",
        f"a:b:c=token={SECRET}",
        f"options='token={SECRET}'",
        "x" * 50 + f"https://me:{SECRET}@host/x",
        f"https://b.s3.amazonaws.com/x?X-Amz-Expires=60&X-Amz-Signature={SECRET * 3}",
        f"https://host/x?X-Goog-Signature={SECRET * 3}",
        f"https://a.blob.core.windows.net/x?sp=r&sig={SECRET}%2B{SECRET}%3D",
        f"https://d.cloudfront.net/x?Signature={SECRET}-{SECRET}__&Key-Pair-Id=K",
    ],
)
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: [t], lambda t: {"a": (t, 1)}])
def test_a_text_that_holds_one(text: str, wrap: object) -> None:
    """What has the form of a credential is hidden in whatever is shown of a value."""
    value = wrap(text)  # type: ignore[operator]
    assert SECRET not in without_credentials(text)
    assert SECRET[:6] not in preview(value)
    assert SECRET[:6] not in described(value)


def test_a_pair_whose_first_is_the_name() -> None:
    """Headers may be a list of pairs, whose names tell as those of a mapping do."""
    headers = [("Accept", "text/csv"), ("Authorization", SECRET), ["X-Api-Key", SECRET]]
    for shown in (preview(headers), described(headers)):
        assert "text/csv" in shown
        assert SECRET[:6] not in shown


@pytest.mark.parametrize(
    "text",
    [
        "gene: USH2A",
        "chr1:1000-2000",
        "https://host/x?q=1",
        "https://host/x?signature=SBS96&sig=0.05",
        "signature=HALLMARK_INTERFERON_ALPHA_RESPONSE",
        "a = 1",
        "12:30",
        "me@x.org",
        "basic",
    ],
)
def test_other_texts_stay(text: str) -> None:
    """What is no credential is shown as it is."""
    assert without_credentials(text) == text


def test_a_long_chain_of_names_can_be_looked_through() -> None:
    """However many names stand before each other, none is too many."""
    assert without_credentials("a:" * 100_000) == "a:" * 100_000


@given(st.text())
def test_any_text_can_be_looked_through(text: str) -> None:
    """Hiding is total, and what is hidden once stays as it is."""
    once = without_credentials(text)
    assert without_credentials(once) == once
