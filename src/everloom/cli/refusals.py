"""What a client is told whose bytes never become a request."""

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from everloom.cli.connection_limits import HEAD_BYTES, HEADER_BYTES
from everloom.kit.errors import ApiError, BadRequest


def headers_too_long() -> ApiError:
    text = f"Request headers too large. A header may have {HEADER_BYTES} bytes, all of them {HEAD_BYTES}."
    return ApiError(431, text, code="request_headers_too_large")


def url_too_long() -> ApiError:
    return ApiError(414, f"The request's URL is too long. The limit is {HEADER_BYTES} bytes.", code="url_too_long")


def too_long(what: str) -> ApiError:
    return BadRequest(f"{what} is too long.", code="invalid_http_request")


def timed_out(what: str) -> ApiError:
    return ApiError(408, f"Timed out waiting for {what}.", code="request_timeout")


def encoded(error: ApiError) -> bytes:
    """The whole answer, which says that its connection is closed."""
    body = msgspec.json.encode(error.envelope())
    head = [STATUS_LINE[error.status], b"content-type: application/json\r\n", b"connection: close\r\n"]
    head += [f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in error.headers.items()]
    return b"".join([*head, b"content-length: %d\r\n\r\n" % len(body), body])
