"""The mailer's port, and how the settings name a mail server. Adapter: ``smtp.py``."""

from typing import Literal, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from everloom.objects.mail import Mail, is_address, one_line

StartTls = Literal["always", "offered", "never"]

_PORTS = {"smtp": 587, "smtps": 465}
_HERE = ("localhost", "127.0.0.1", "::1")


class MailAway(Exception):
    """The mail server cannot be reached, or takes nothing for now: the same mail may be taken later.

    ``tried``: whether it was asked, or had been a moment ago; otherwise others are being sent.
    """

    def __init__(self, why: str, *, tried: bool = True) -> None:
        super().__init__(why)
        self.tried = tried


class MailRefused(Exception):
    """The mail server will not take this mail, however often it is asked."""


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Hand a mail over; when it returns, the mail server has it. Errors: ``MailAway``, ``MailRefused``.

        The same ``Mail`` bears the same Message-ID each time.
        """
        ...

    async def check(self) -> str:
        """Connect and log in, and send nothing; what to say of the server. Errors: ``MailAway``."""
        ...


class MailServer(Struct, frozen=True, kw_only=True):
    """Where mail goes. ``tls``: from the first byte on. ``start_tls``: whether a connection is encrypted later."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    tls: bool = False
    start_tls: StartTls = "always"

    def __repr__(self) -> str:
        return f"MailServer({self.host!r}, {self.port})"


def mail_server(url: str) -> MailServer:
    """``smtp://USER:PASSWORD@HOST:PORT?starttls=always`` or ``smtps://…``. Errors: ``ValueError``, what is wrong.

    Without ``starttls`` a password goes over an encrypted connection alone, unless the server is this machine.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if parts.scheme not in _PORTS or not host or parts.path not in ("", "/") or one_line(host) != host:
        raise ValueError("expected smtp://USER:PASSWORD@HOST:PORT or smtps://USER:PASSWORD@HOST:PORT")
    tls = parts.scheme == "smtps"
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    usual = "always" if parts.password and host not in _HERE else "offered"
    start_tls = options.pop("starttls", usual)
    if options or start_tls not in ("always", "offered", "never") or (tls and "starttls" in parts.query):
        raise ValueError("expected ?starttls=always, offered or never behind an smtp:// URL, and nothing else")
    return MailServer(
        host=host,
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=tls,
        start_tls=start_tls,  # type: ignore[arg-type]  # one of the three, as was asked above
    )


def mail_sender(text: str) -> tuple[str, str]:
    """The name and the address of ``Name <address>`` or of an address alone. Errors: ``ValueError``, what is wrong."""
    name, bracket, address = text.removesuffix(">").rpartition("<")
    if bool(bracket) != text.endswith(">") or not is_address(address) or one_line(text) != text:
        raise ValueError("expected an address, or 'Name <address>'")
    return name.strip(' "'), address
