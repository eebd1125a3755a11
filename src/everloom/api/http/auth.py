"""From a request's headers to its caller, by the key that opens it (the reference's Authentication page)."""

import base64
import binascii
import hashlib
import hmac
import time
from typing import Any

from everloom.api.http.routes import Access, Request
from everloom.api.http.steps import Next
from everloom.context import Context
from everloom.context.caller import Caller
from everloom.kit.errors import ApiError, Forbidden, NotFound, Unauthorized
from everloom.objects.keys import KeyHash
from everloom.store.base import SYSTEM, Database

NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
    "API from your browser and are prompted for a username and password. You can obtain an API key from the operator "
    "of this server ('everloom keys create')."
)
WRONG_SCOPE = (
    "You have insufficient permissions for this operation. Missing scopes: {scope}. Check that you have the correct "
    "role in your organization (Reader, Writer, Owner) and project (Member, Owner), and if you're using a restricted "
    "API key, that it has the necessary scopes."
)

_REMEMBER_SECONDS = 2.0
"""How long a key that was good is taken at its word: a deleted key stops working within this time."""

_REMEMBER_KEYS = 10_000


class _Known:
    """A key that was good, until when it is taken at its word, and the view of the server that it opens."""

    __slots__ = ("caller", "context", "key", "until")

    def __init__(self, key: KeyHash, until: float) -> None:
        self.key = key
        self.until = until
        self.caller = Caller(project=key.project_id or "", key_id=key.id)
        self.context: Context | None = None


class Auth:
    """Knows the keys of one server. ``organization`` is its id (``org-…``), ``slug`` its name in headers."""

    def __init__(self, database: Database, *, organization: str = "org-everloom", slug: str = "everloom") -> None:
        self.organization = organization
        self.slug = slug
        self._store = database.store(SYSTEM)
        self._remembered: dict[bytes, _Known] = {}

    async def authenticate(self, request: Request, next: Next) -> Any:
        """The step that lets in who may call an operation, and binds it to who asks. Errors: 401, 403."""
        assert request.route is not None
        access = request.route.access
        if access == "open":
            request.context = Context.of(request.ports, SYSTEM)
            return await next(request)
        known = self._recall(request.headers) or await self._look_up(request.headers)
        self._check(known.key, request.headers, access)
        if known.context is None:
            known.context = Context.for_caller(request.ports, known.caller)
        request.caller, request.context = known.caller, known.context
        return await next(request)

    async def caller(self, headers: dict[bytes, bytes], access: Access) -> Caller:
        """Who asks, with a key that is good for ``access``. Errors: 401, 403."""
        known = self._recall(headers) or await self._look_up(headers)
        self._check(known.key, headers, access)
        return known.caller

    def _check(self, key: KeyHash, headers: dict[bytes, bytes], access: Access) -> None:
        organization = headers.get(b"openai-organization")
        if organization and organization.decode("latin-1") not in (self.organization, self.slug):
            raise Unauthorized(
                "OpenAI-Organization header should match organization for API key", code="mismatched_organization"
            )
        project = headers.get(b"openai-project")
        if project and project.decode("latin-1") != key.project_id:
            raise Unauthorized("OpenAI-Project header should match project for API key", code="mismatched_project")
        if key.scope != access:
            scope = "api.management.write" if access == "admin" else "api.model.request"
            raise Forbidden(WRONG_SCOPE.format(scope=scope))

    def _recall(self, headers: dict[bytes, bytes]) -> _Known | None:
        """The key of a request, if it was good a moment ago."""
        known = self._remembered.get(hashlib.sha256(_secret(headers)).digest())
        return known if known is not None and known.until > time.monotonic() else None

    async def _look_up(self, headers: dict[bytes, bytes]) -> _Known:
        secret = _secret(headers)
        digest = hashlib.sha256(secret).digest()
        until = time.monotonic() + _REMEMBER_SECONDS
        try:
            key = await self._store.get(KeyHash, digest.hex())
        except NotFound:
            raise _wrong_key(secret) from None
        if not hmac.compare_digest(key.id, digest.hex()):
            raise _wrong_key(secret)
        if len(self._remembered) >= _REMEMBER_KEYS:
            self._remembered.clear()
        known = self._remembered[digest] = _Known(key, until)
        return known


def _secret(headers: dict[bytes, bytes]) -> bytes:
    if b"authorization" not in headers and (key := headers.get(b"api-key", b"").strip()):
        return key  # As Azure's clients send it.
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"basic":
        try:
            user, _, value = base64.b64decode(value, validate=True).partition(b":")
        except binascii.Error:
            raise Unauthorized(NO_KEY) from None
        if user:
            raise Unauthorized(NO_KEY)
    elif scheme.lower() != b"bearer":
        raise Unauthorized(NO_KEY)
    value = value.strip()
    if not value:
        raise Unauthorized(NO_KEY)
    return value


def _wrong_key(secret: bytes) -> ApiError:
    shown = secret.decode("latin-1")
    # As the platform shows them: one as short as a placeholder ("undefined", "EMPTY") whole.
    shown = f"{shown[:8]}***{shown[-4:]}" if len(shown) > 12 else shown
    shown = "".join(character if character.isprintable() else "?" for character in shown)
    return Unauthorized(
        f"Incorrect API key provided: {shown}. You can find your API key where this server was first started, or make "
        "one with 'everloom keys create'.",
        code="invalid_api_key",
    )
