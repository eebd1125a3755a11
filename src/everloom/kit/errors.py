"""The platform's errors: raised anywhere, rendered in one place (``api/http/responder.py``).

Shape: ``ErrorResponse`` of the reference. Texts: as the platform was recorded to say them.
"""

from typing import Any

import msgspec

from everloom.kit.secrets import SECRETS

NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding the JSON of others raises: texts that are not UTF-8, and brackets without end, are Python's errors."""


class ApiError(Exception):
    """An answer of the platform's error envelope, without the secrets of this process whoever has told them.

    ``status`` is the HTTP status; ``type``, ``param`` and ``code`` are the envelope's fields.
    ``headers`` go out with the answer (``retry-after``, for one).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.param = param
        self.code = code
        self.headers = headers or {}

    @property
    def message(self) -> str:
        """What it tells."""
        return SECRETS.hide(str(self.args[0]))

    def __str__(self) -> str:
        return self.message

    def envelope(self) -> dict[str, Any]:
        """The body of the answer: all four keys, always."""
        shown = {"type": self.type, "param": self.param, "code": self.code}  # An upstream's are texts of its own, too.
        shown = {name: None if text is None else SECRETS.hide(text) for name, text in shown.items()}
        return {"error": {"message": self.message, **shown}}


class BadRequest(ApiError):
    """400: the request itself is at fault."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, param=param, code=code)


class NotFound(ApiError):
    """404: no such object in this project (another project's objects do not exist for the caller)."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(404, message, param=param, code=code)


class Unauthorized(ApiError):
    """401: no key, a wrong key, or a key that does not fit the organization or project asked for."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(401, message, code=code, headers={"www-authenticate": "Bearer"})


class Forbidden(ApiError):
    """403: a key that is real and may not do this."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(403, message, code=code)


class ModelFailure(ApiError):
    """A model or its server failed; the caller did nothing wrong."""

    def __init__(self, message: str, *, status: int = 502, code: str | None = None) -> None:
        super().__init__(status, message, type="server_error", code=code)


class ModelAway(ModelFailure):
    """A model's server cannot be reached, serves nothing for now, or broke off: the same request may be answered later.

    Jobs wait for it, as for whatever comes back by itself; who asked live is told. ``reached``: the request had reached
    it, or may have, so that the request itself may be what ended it.
    """

    def __init__(self, message: str, *, status: int = 502, code: str | None = None, reached: bool = False) -> None:
        super().__init__(message, status=status, code=code)
        self.reached = reached


class NoSuchEndpoint(ModelFailure):
    """A model's server is there and has no such operation."""


class RateLimited(ApiError):
    """429, ours or an upstream's; ``retry_after`` in seconds."""

    def __init__(self, message: str, *, retry_after: float | None = None, type: str = "requests") -> None:
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:.0f}"}
        super().__init__(429, message, type=type, code="rate_limit_exceeded", headers=headers)


RETRY_SECONDS = 5
"""What a client is told to wait where the server's own ground is away."""


class Unavailable(Exception):
    """Something this server stands on (its database, its files' store, the disk) is away for a while: come again.

    Raised by adapters in place of what their drivers raise then. It says nothing against the work, so nobody ends
    work for it: a request is answered with 503, a job waits and is called again. What was being written when it came
    may have been kept all the same (a commit whose answer was lost); who comes again looks.
    """

    def __init__(self, what: str, reason: object) -> None:
        """``what`` is away (the database, for one); ``reason`` is for the operator's log, not for callers."""
        super().__init__(f"{what} is away: {reason}")
        self.what = what

    def answer(self) -> ApiError:
        """What the caller of a request is told."""
        text = f"The server cannot reach {self.what} at the moment. Please try again after a brief wait."
        return ApiError(503, text, type="server_error", headers={"retry-after": str(RETRY_SECONDS)})
