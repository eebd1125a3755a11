"""Where this server is, as its clients know it."""

import re

from everloom.api.http.paths import PREFIX
from everloom.api.http.routes import Request
from everloom.context import Context

_HOST = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def base_url(ctx: Context, call: Request) -> str:
    """The base URL that the caller's own addresses begin with: as set, else as its request says.

    A ``Host`` that can be none is passed over for the address that was reached.
    """
    if ctx.ports.limits.public_url:
        return ctx.ports.limits.public_url
    host = call.header(b"host") or ""
    if not _HOST.fullmatch(host):
        name, port = call.server or ("localhost", None)
        name = f"[{name}]" if ":" in name else name
        host = name if port is None else f"{name}:{port}"
    scheme = (call.header(b"x-forwarded-proto") or "").partition(",")[0].strip().lower()
    return f"{scheme if scheme in ('http', 'https') else 'http'}://{host}{PREFIX}"
