"""What is kept of a key that is made.

A key is seen once, when it is made; the store keeps its SHA-256 only. Keys are 48 random base62
digits (286 bits), so a plain hash withstands guessing and no slow one is needed.
"""

import hashlib
from collections.abc import Sequence

from everloom.kit.clock import now
from everloom.kit.errors import BadRequest
from everloom.kit.ids import new_id, random_digits
from everloom.objects.keys import SCOPES, Key, Permissions
from everloom.requests.validation import unsupported_value

PREFIX = {"project": "sk-proj-", "admin": "sk-admin-", "service_account": "sk-svcacct-"}
"""What secrets of a kind begin with."""


def new_secret(kind: str) -> str:
    """A secret that nobody can guess; ``kind`` is one of ``PREFIX``."""
    return PREFIX[kind] + random_digits(48)


def secret_hash(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def redacted(secret: str) -> str:
    """A key as lists show it (``sk-abc...wxyz``); a short one, which that would give away, not at all."""
    return f"{secret[:6]}...{secret[-4:]}" if len(secret) >= 24 else "***"


def expiry(seconds: int | None) -> int | None:
    """When a key that is made now stops opening anything."""
    return None if seconds is None else now() + seconds


def new_key(
    secret: str,
    *,
    owner_id: str,
    name: str,
    project_id: str = "",
    permissions: Permissions = "all",
    scopes: Sequence[str] = (),
    expires_at: int | None = None,
    id: str | None = None,
) -> Key:
    """A key of a project or, without one, of the organization."""
    return Key(
        id=id or new_id("key_"),
        created_at=now(),
        secret_hash=secret_hash(secret),
        project_id=project_id,
        owner_id=owner_id,
        name=name,
        redacted_value=redacted(secret),
        permissions=permissions,
        scopes=list(scopes),
        expires_at=expires_at,
    )


def check_scopes(scopes: Sequence[str] | None) -> BadRequest | None:
    """The refusal of scopes that there are not."""
    for place, scope in enumerate(scopes or ()):
        if scope not in SCOPES:
            return unsupported_value(f"scopes[{place}]", scope, SCOPES)
    return None
