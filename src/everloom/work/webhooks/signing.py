"""Signatures of Standard Webhooks, which the SDKs of the platform verify (``webhooks.unwrap``)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

_PREFIX = "whsec_"


def new_secret() -> str:
    """A secret that nobody can guess: 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def hint(secret: str) -> str:
    """What tells a secret from others, and gives nothing of it away that would help to guess it."""
    return f"{_PREFIX}...{secret[-5:]}"


def signed(id: str, at: int, body: str, keys: Sequence[str]) -> dict[str, str]:
    """The headers of a delivery that is tried at ``at`` (Unix seconds), signed with each of the secrets."""
    text = f"{id}.{at}.{body}".encode()
    signatures = [f"v1,{_signature(secret, text)}" for secret in keys]
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def _signature(secret: str, text: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
