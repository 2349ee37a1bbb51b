"""Signatures by which a user's own records are told from those that came with files of others.

The key is a file of the user's that no run contains. Where it cannot be kept, nothing is signed,
and code needs leave again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

_SIZE = 32  # bytes of the key


def signature(text: str) -> str:
    """Return the signature of a text by this user's key; empty where no key can be kept."""
    key = _key(create=True)
    return _mac(key, text) if key else ""


def is_signed(text: str, claimed: object) -> bool:
    """Return whether a text has been signed by this user."""
    key = _key(create=False)
    return (
        key is not None
        and isinstance(claimed, str)
        and hmac.compare_digest(_mac(key, text).encode(), claimed.encode())
    )


def key_file() -> Path:
    """Return the file of the key, ``$XDG_STATE_HOME/hwnas/key`` or ``~/.local/state/hwnas/key``."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "hwnas", "key")


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _key(*, create: bool) -> bytes | None:
    """Return the key, which is made if it is missing and `create` is true."""
    with contextlib.suppress(OSError, RuntimeError):  # a home that cannot be written to, or none
        file = key_file()
        if create and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f"{file.name}.{os.getpid()}")
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(descriptor, secrets.token_bytes(_SIZE))
                # Of two processes at once, the key of the first one stays.
                with contextlib.suppress(FileExistsError):
                    os.link(partial, file)
            finally:
                os.close(descriptor)
                partial.unlink()
        key = file.read_bytes()
        return key if len(key) == _SIZE else None
    return None
