"""Which segments this user's own library wrote: what nobody else can state.

An entry states digests of the bytes of its segment, so that a hit compares bytes and not
values. That would let whoever made the files vouch for them: bytes that no frame may be
built of have a fitting digest as well. So the statement bears a seal, a BLAKE2b digest keyed
with a secret of this user on this machine, in ``$XDG_STATE_HOME/usher_pipeline/seal.key``
(``~/.local/state`` unless set). Without a seal of ours the structure of a segment is checked
in full, and its values are digested, the first time a process maps it: after a store was
unpacked, pulled, or filled by somebody else, and where no such file can be kept.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from usher_pipeline import standins

if TYPE_CHECKING:
    from usher_pipeline.records import Entry

__all__ = ["has_secret", "is_sealed", "seal"]

_SECRET_BYTES: Final = 32


def seal(entry: Entry) -> str:
    """Return the seal of what an entry states of its segment; empty if there can be none.

    Args:
        entry: The entry, with the digests of the bytes.
    """
    secret = _secret(_place())
    if secret is None or not (entry.segment_digest or any(entry.buffer_digests)):
        return ""
    from hashlib import blake2b

    stated = "\n".join((entry.content, entry.segment_digest, *entry.buffer_digests))
    return blake2b(
        stated.encode("utf-8", "surrogatepass"), key=secret, digest_size=16
    ).hexdigest()


def is_sealed(entry: Entry) -> bool:
    """Tell whether this user's own library vouches for the bytes that an entry states.

    Args:
        entry: The entry.
    """
    return bool(entry.seal) and entry.seal == seal(entry)


def has_secret() -> bool:
    """Tell whether there is a secret by now; none is made."""
    place = _place()
    return bool(place) and _read(Path(place)) is not None


def _place() -> str:
    """Return where the secret lies; empty if this user has no place for it."""
    stand_in = standins.stands_in()
    if stand_in is not None:
        # What tests compute is no reason to make anything in the home of their user.
        return f"{stand_in.state}/usher_pipeline/seal.key"
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # noqa: PTH117 - on the way of every first hit
        try:
            state = str(Path.home() / ".local" / "state")
        except RuntimeError:
            return ""
    return f"{state}/usher_pipeline/seal.key"


@cache
def _secret(place: str) -> bytes | None:
    """Return the secret, made at the first time; None if it can not be kept."""
    if not place:
        return None
    path = Path(place)
    found = _read(path)
    if found is None:
        with suppress(OSError):
            _write(path)
        found = _read(path)
    return found


def _read(path: Path) -> bytes | None:
    try:
        facts = path.stat()
        # What others may write, or made for us, is no secret.
        if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
            return None
        secret = path.read_bytes()
    except OSError:
        return None
    return secret if len(secret) == _SECRET_BYTES else None


def _write(path: Path) -> None:
    """Make the secret, unless another process was quicker."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(os.urandom(_SECRET_BYTES))
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()
