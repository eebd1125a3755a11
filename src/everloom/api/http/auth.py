"""From a request's headers to its caller, by the key that opens it (the reference's Authentication page)."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
from typing import Any

from everloom.api.http.routes import Request, Route
from everloom.api.http.steps import Next
from everloom.context import Context
from everloom.context.caller import Caller
from everloom.context.known_keys import KnownKey, KnownKeys
from everloom.kit.errors import ApiError, Forbidden, Unauthorized
from everloom.objects.audit import Origin
from everloom.objects.keys import Access, Key
from everloom.objects.organization import ORGANIZATION
from everloom.objects.users import User
from everloom.store.base import SYSTEM, Database, Store
from everloom.work.organization import access as keys
from everloom.work.organization.refused_keys import RefusedKeys

log = logging.getLogger(__name__)

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

_LONGEST_AGENT = 512
_LONGEST_FORWARDED = 256

FORMER = (
    "Leave the header out (OPENAI_ORG_ID, OPENAI_PROJECT_ID), or have the operator of this server name the ids of "
    "before in EVERLOOM_FORMER_IDS."
)


class Auth:
    """Knows the keys of one server. ``organization`` is its id (``org-…``), ``slug`` its name in headers.

    ``former_ids`` are those of organizations and projects that headers may name as well; ``refused`` counts keys that
    are refused where an admin key is asked for.
    """

    def __init__(
        self,
        database: Database,
        known_keys: KnownKeys,
        *,
        organization: str = ORGANIZATION,
        slug: str = "everloom",
        former_ids: frozenset[str] = frozenset(),
        refused: RefusedKeys | None = None,
    ) -> None:
        self.organization = organization
        self.slug = slug
        self._former_ids = former_ids
        self._store = database.store(SYSTEM)
        self._known_keys = known_keys
        self._refused = refused or RefusedKeys(self._store)
        self._noting: set[asyncio.Task[None]] = set()

    async def authenticate(self, request: Request, next: Next) -> Any:
        """The step that lets in who may call an operation, and binds it to who asks. Errors: 401, 403."""
        route = request.route
        assert route is not None
        if route.access == "open":
            request.context = Context.of(request.ports, SYSTEM, origin_of(request))
            return await next(request)
        if route.access == "admin":
            return await self._admin(request, route, next)
        known = self._recall(request.headers) or await self._look_up(request.headers)
        self._check(known.key, request.headers, route.access, route.scope)
        request.caller = known.caller
        if known.context is None:
            known.context = Context.for_caller(request.ports, known.caller)
        request.context = known.context
        return await next(request)

    async def _admin(self, request: Request, route: Route, next: Next) -> Any:
        """What is done to the organization is told with where it came from, and so is who may do nothing there."""
        origin = origin_of(request)
        try:
            request.caller = await self.caller(request.headers, route.access, route.scope)
        except (Unauthorized, Forbidden) as refusal:
            self._refused.note(refusal, origin)
            raise
        request.context = Context.for_caller(request.ports, request.caller, origin)
        return await next(request)

    async def caller(self, headers: dict[bytes, bytes], access: Access, scope: str) -> Caller:
        """Who asks, with a key that is good for this. Errors: 401, 403."""
        known = self._recall(headers) or await self._look_up(headers)
        self._check(known.key, headers, access, scope)
        return known.caller

    def _check(self, key: Key, headers: dict[bytes, bytes], access: Access, scope: str) -> None:
        organization = headers.get(b"openai-organization", b"").decode("latin-1")
        if organization and organization not in (self.organization, self.slug, *self._former_ids):
            text = "OpenAI-Organization header should match organization for API key"
            raise Unauthorized(f"{text}. {FORMER}", code="mismatched_organization")
        project = headers.get(b"openai-project", b"").decode("latin-1")
        if project and project != key.project_id and project not in self._former_ids:
            text = "OpenAI-Project header should match project for API key"
            raise Unauthorized(f"{text}. {FORMER}", code="mismatched_project")
        if key.access != access or not key.may(scope):
            raise Forbidden(WRONG_SCOPE.format(scope=scope), code="missing_scope")

    def _recall(self, headers: dict[bytes, bytes]) -> KnownKey | None:
        """The key of a request, if it was good a moment ago."""
        return self._known_keys.recall(hashlib.sha256(_secret(headers)).digest())

    async def _look_up(self, headers: dict[bytes, bytes]) -> KnownKey:
        """The key of a request, as the store has it. Errors: 401."""
        secret = _secret(headers)
        digest = hashlib.sha256(secret).digest()
        look = self._known_keys.look()
        key = await keys.key_of(self._store, digest.hex())
        if key is None or not hmac.compare_digest(key.secret_hash, digest.hex()):
            raise _wrong_key(secret)
        owner = await keys.owner_of(self._store, key)
        if keys.is_stale(key):
            self._note_use(key)
        return self._known_keys.remember(digest, key, owner.email if isinstance(owner, User) else "", look)

    def _note_use(self, key: Key) -> None:
        """Write down that a key is used, beside the request and not before it."""
        task = asyncio.create_task(_noted(self._store, key.id))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)


async def _noted(store: Store, key_id: str) -> None:
    try:
        await keys.note_use(store, key_id)
    except Exception as problem:  # It is noted at the next look, and tells nobody anything until then.
        log.debug("the use of %s was not noted: %r", key_id, problem)


def origin_of(request: Request) -> Origin:
    """Where a request comes from, as far as the audit log has room for it."""
    agent, forwarded = request.header(b"user-agent"), request.header(b"x-forwarded-for")
    return Origin(
        ip_address=request.client,
        user_agent=(agent or "")[:_LONGEST_AGENT],
        forwarded_for=(forwarded or "")[:_LONGEST_FORWARDED],
    )


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
