"""Mail over SMTP. A connection a mail, a few at a time; a server that is away is left alone for a while."""

import asyncio
import re
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING

from everloom.kit.log import mask
from everloom.mail.base import MailAway, MailRefused, MailServer
from everloom.objects.mail import Mail

if TYPE_CHECKING:
    import aiosmtplib

CONNECTIONS = 4
"""Mails that a process sends at a time: a server that says nothing holds so many jobs, and no more."""

COMMAND_SECONDS = 20.0
MAIL_SECONDS = 60.0
"""How long the server may take for an answer, and for a whole mail."""

GOODBYE_SECONDS = 2.0

LEFT_ALONE_SECONDS = 5.0
"""How long a server that could not be reached is not asked for another mail."""

_LOGIN = frozenset({530, 534, 535, 538})
"""Replies that say how to log in: nothing is wrong with the mail."""


class SmtpMailer:
    """A ``Mailer``. ``sender``: the name, which may be empty, and the address that mail comes from."""

    def __init__(self, server: MailServer, sender: tuple[str, str]) -> None:
        self._server = server
        self._sender = Address(display_name=sender[0], addr_spec=_ascii_domain(sender[1]))
        self._sending = 0
        self._away_until = 0.0
        self._why = ""

    async def send(self, mail: Mail) -> None:
        if time.monotonic() < self._away_until:
            raise MailAway(self._why)
        if self._sending >= CONNECTIONS:
            raise MailAway("other mails are being sent", tried=False)
        self._sending += 1
        try:
            async with asyncio.timeout(MAIL_SECONDS):
                client = await self._hand_over(mail)
        except TimeoutError:
            raise self._leave_alone("it took too long") from None
        finally:
            self._sending -= 1
        await _part(client)

    async def check(self) -> str:
        import aiosmtplib

        client = self._client()
        try:
            async with asyncio.timeout(COMMAND_SECONDS), client:
                encrypted = client.get_transport_info("sslcontext") is not None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailAway(_why(error)) from error
        return f"{'encrypted' if encrypted else 'not encrypted'}{', logged in' if self._server.user else ''}"

    async def _hand_over(self, mail: Mail) -> "aiosmtplib.SMTP":
        """The connection over which the server took it."""
        import aiosmtplib

        to = _ascii_domain(mail.to)
        try:
            message = self._message(mail, to)
        except ValueError as error:
            raise MailRefused(f"it cannot be written: {error}") from error
        client = self._client()
        try:
            await client.connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._leave_alone(_why(error)) from error
        try:
            await client.send_message(message, sender=self._sender.addr_spec, recipients=[to])
        except BaseException as error:
            client.close()
            if isinstance(error, aiosmtplib.SMTPException | OSError):
                await asyncio.sleep(0)  # In which the connection is closed.
                raise _meaning(error) from error
            raise
        return client

    def _client(self) -> "aiosmtplib.SMTP":
        import aiosmtplib

        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            local_hostname=self._sender.domain,
            timeout=COMMAND_SECONDS,
            use_tls=server.tls,
            start_tls={"always": True, "offered": None, "never": False}[server.start_tls] if not server.tls else False,
            # Whoever could show a wrong certificate could as well offer no encryption.
            validate_certs=server.tls or server.start_tls == "always",
        )

    def _message(self, mail: Mail, to: str) -> EmailMessage:
        """Errors: ``ValueError`` for what no header can hold."""
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = Address(addr_spec=to)
        message["Subject"] = mail.subject
        message["Date"] = datetime.fromtimestamp(mail.created_at, UTC)
        message["Message-ID"] = f"<{mail.id}@{self._sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"  # nobody's absence is to be told to it
        message.set_content(mail.text)
        return message

    def _leave_alone(self, why: str) -> MailAway:
        self._why = why
        self._away_until = time.monotonic() + LEFT_ALONE_SECONDS
        return MailAway(why)


async def _part(client: "aiosmtplib.SMTP") -> None:
    """Say goodbye, if the server listens."""
    import aiosmtplib

    with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await client.quit()
    client.close()


def _meaning(error: Exception) -> Exception:
    """What a failure behind the greeting means: the mail or its recipient is refused, or all of it has to wait."""
    import aiosmtplib

    reply: Exception = error.recipients[0] if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else error
    final = isinstance(reply, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError)
    code = getattr(reply, "code", 0)
    return MailRefused(_why(reply)) if final and code >= 500 and code not in _LOGIN else MailAway(_why(reply))


def _ascii_domain(address: str) -> str:
    """The address with its domain as DNS has it."""
    local, _, domain = address.rpartition("@")
    try:
        return address if domain.isascii() else f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return address


def _why(error: BaseException) -> str:
    """What an error says, in one line without secrets."""
    code, text = getattr(error, "code", None), getattr(error, "message", None) or str(error)
    for cause in (error, error.__cause__):
        if isinstance(cause, ssl.SSLCertVerificationError):
            text = f"its certificate cannot be trusted: {cause.verify_message}"
    text = re.sub(r"\s+", " ", mask(text or type(error).__name__))[:300]
    return text if code is None else f"{code} {text}"
