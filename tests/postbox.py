"""A real mail server on this machine, which keeps what it is sent and refuses what a test wants refused."""

import email
import email.policy
import socket
import ssl
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

USER, PASSWORD = "somebody", "pass/w:rd@secret"

Reply = Callable[[str], str | None]


class Postbox:
    """``with Postbox() as box:`` takes mail at ``box.port``; it can be stopped and started again there.

    ``recipient`` and ``content`` are asked, with the address and with the mail's text, for another reply than 250.
    ``certificate`` has it offer STARTTLS (or, with ``tls``, speak nothing else); ``login``: it takes no mail without.
    """

    def __init__(
        self,
        *,
        recipient: Reply = lambda address: None,
        content: Reply = lambda text: None,
        certificate: trustme.LeafCert | None = None,
        tls: bool = False,
        login: bool = False,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.mails: list[EmailMessage] = []
        self.tried = 0
        self._recipient, self._content = recipient, content
        self._login, self._tls = login, tls
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(self._context)
        self._controller: Controller | None = None
        self._changed = threading.Condition()

    def __enter__(self) -> "Postbox":
        secured: dict[str, Any] = {} if self._tls else {"tls_context": self._context}
        if self._login:
            secured |= {"authenticator": _authenticated, "auth_required": True}
            secured |= {"auth_require_tls": self._context is not None and not self._tls}
        context = {"ssl_context": self._context} if self._tls else {}
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, server_hostname="postbox", **context, **secured
        )
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def wait(self, mails: int, seconds: float = 30.0) -> list[EmailMessage]:
        """So many mails, or more, as soon as they are here."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.mails) >= mails, seconds), self.mails
            return list(self.mails)

    def wait_for_tries(self, tries: int, seconds: float = 30.0) -> None:
        """Return when so many recipients have been named to it."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.tried >= tries, seconds), self.tried

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        assert options == []
        with self._changed:
            self.tried += 1
            self._changed.notify_all()
        if (reply := self._recipient(address)) is not None:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        reply = self._content(envelope.content.decode())
        if reply is None or reply.startswith("250"):
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            mail["X-Envelope"] = f"{envelope.mail_from} {' '.join(envelope.rcpt_tos)}"
            mail["X-Login"] = str(session.auth_data)
            mail["X-Encrypted"] = str(session.ssl is not None or self._tls)
            with self._changed:
                self.mails.append(mail)
                self._changed.notify_all()
        return reply or "250 OK"


def _authenticated(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=good, auth_data=USER if good else None)


def authority(folder: Path) -> tuple[trustme.LeafCert, Path]:
    """A certificate for this machine, and the file of whoever vouches for it (``SSL_CERT_FILE``)."""
    issuer = trustme.CA()
    trusted = folder / "authority.pem"
    issuer.cert_pem.write_to_path(str(trusted))
    return issuer.issue_cert("127.0.0.1", "localhost"), trusted


def text_of(mail: EmailMessage) -> str:
    """What it says, its lines ended as in Python."""
    content: str = mail.get_content()
    return content.replace("\r\n", "\n")


def until(good: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when something holds."""
    end = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < end
        time.sleep(0.05)
