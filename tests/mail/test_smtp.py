"""The mailer against a real mail server: what goes out, over what connections, and what each refusal means."""

import asyncio
import smtplib
import socket
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import psutil
import pytest

from everloom.mail.base import MailAway, MailRefused, mail_sender, mail_server
from everloom.mail.smtp import CONNECTIONS, SmtpMailer
from everloom.objects.mail import Mail, is_address, one_line
from tests.postbox import PASSWORD, USER, Postbox, authority, text_of

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
"""Said by the test's server of itself."""

T = TypeVar("T")
FROM = mail_sender("Everloom <everloom@example.org>")
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}@"


PORTS: set[int] = set()
"""Those that mailers were given."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, which would leave what was hung up half closed: TLS waits for the other side's goodbye."""

    async def whole() -> T:
        try:
            return await work
        finally:
            until = time.monotonic() + 60
            while any(each.raddr and each.raddr.port in PORTS for each in psutil.Process().net_connections("tcp")):
                assert time.monotonic() < until
                await asyncio.sleep(0.01)

    return asyncio.run(whole())


def a_mail(to: str = "somebody@example.org", **fields: object) -> Mail:
    known = {"id": "mail_1", "created_at": 1_700_000_000, "subject": "A subject", "text": "A text.\n"}
    return Mail(**{**known, "to": to, **fields})  # type: ignore[arg-type]


def mailer(port: int, login: str = "", more: str = "", scheme: str = "smtp", host: str = "127.0.0.1") -> SmtpMailer:
    PORTS.add(port)
    return SmtpMailer(mail_server(f"{scheme}://{login}{host}:{port}{more}"), FROM)


def test_a_mail_says_what_it_was_told_to() -> None:
    with Postbox() as box:
        text = "Zeichen: \u00e4\u00f6\u00fc\n.\n\nA line that is longer than " + "many " * 300 + "\n"
        run(mailer(box.port).send(a_mail(subject="Invitation: B\u00fccher " * 8, text=text)))
        (mail,) = box.mails
    assert mail["From"] == "Everloom <everloom@example.org>"
    assert mail["To"] == "somebody@example.org"
    assert mail["X-Envelope"] == "everloom@example.org somebody@example.org"
    assert mail["Subject"] == "Invitation: B\u00fccher " * 8
    assert mail["Message-ID"] == "<mail_1@example.org>"
    assert mail["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert text_of(mail) == text


@pytest.mark.parametrize(
    ("subject", "to"),
    [
        ("Hello\r\nBcc: thief@example.org", "somebody@example.org"),
        ("Hello\nBcc: thief@example.org", "somebody@example.org"),
        ("Hello", "somebody@example.org\r\nBcc: thief@example.org"),
        ("Hello", "somebody@example.org>\r\nRCPT TO:<thief@example.org"),
    ],
)
def test_nothing_is_smuggled_into_a_mail(subject: str, to: str) -> None:
    """What ``letter`` never writes is not sent either."""
    with Postbox() as box:
        with pytest.raises(MailRefused):
            run(mailer(box.port).send(a_mail(to, subject=subject)))
        assert (box.mails, box.tried) == ([], 0)


def test_a_text_in_a_header_is_one_line() -> None:
    assert one_line("a\r\nBcc: b\x00\u2028c\u202e\u200bd\te ") == "a Bcc: b c d e"


GOOD = ["a@b", "a.b+c@example.org", "o'brien@example.org", "a@b\u00fccher.example", f"{'a' * 64}@b.c", "1@2.3"]
BAD = [
    *("", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b c", "a,b@c", "a@b,c", "<a@b>", "a>b@c", 'a"b@c', '"a"@b'),
    *("a(b)@c", "a;b@c", "a:b@c", "a@[127.0.0.1]", ".a@b", "a.@b", "a..b@c", "a@.b", "a@b.", "a@-b", "a@b-", "a@b..c"),
    *("a@b\n", "a\n@b", "a@b\r\nBcc: c@d", "a@b\x00", f"{'a' * 65}@b.c", f"a@{'b.' * 130}c", "a\\@b", "a@b/c", "ä@b"),
]


@pytest.mark.parametrize("text", GOOD)
def test_an_address(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize("text", BAD)
def test_no_address(text: str) -> None:
    assert not is_address(text)


def test_a_domain_beyond_ascii_goes_out_as_dns_has_it() -> None:
    with Postbox() as box:
        run(mailer(box.port).send(a_mail("somebody@b\u00fccher.example")))
        assert box.mails[0]["X-Envelope"] == "everloom@example.org somebody@xn--bcher-kva.example"


# --- connections -----------------------------------------------------------------------------------------------------


def test_a_password_goes_over_an_encrypted_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, trusted = authority(tmp_path)
    with Postbox(certificate=certificate, login=True) as box:
        strict = mailer(box.port, LOGIN, "?starttls=always")
        with pytest.raises(MailAway, match="certificate cannot be trusted"):
            run(strict.send(a_mail()))
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        run(mailer(box.port, LOGIN, "?starttls=always").send(a_mail()))
        assert run(strict.check()) == "encrypted, logged in"
        (mail,) = box.mails
    assert (mail["X-Encrypted"], mail["X-Login"]) == ("True", USER)


def test_tls_from_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, trusted = authority(tmp_path)
    with Postbox(certificate=certificate, tls=True, login=True) as box:
        with pytest.raises(MailAway, match="certificate cannot be trusted"):
            run(mailer(box.port, LOGIN, scheme="smtps").send(a_mail()))
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        run(mailer(box.port, LOGIN, scheme="smtps").send(a_mail()))
        assert (box.mails[0]["X-Encrypted"], box.mails[0]["X-Login"]) == ("True", USER)


def test_without_a_password_encryption_is_taken_where_it_is_offered(tmp_path: Path) -> None:
    certificate, _ = authority(tmp_path)
    for box, encrypted in ((Postbox(certificate=certificate), "True"), (Postbox(), "False")):
        with box:
            run(mailer(box.port).send(a_mail()))
            assert box.mails[0]["X-Encrypted"] == encrypted
    with Postbox() as box:
        with pytest.raises(MailAway, match="STARTTLS"):
            run(mailer(box.port, LOGIN, "?starttls=always").send(a_mail()))
        assert box.tried == 0


def test_a_wrong_password_waits_to_be_corrected() -> None:
    with Postbox(login=True) as box:
        wrong = mailer(box.port, "somebody:wrong@")
        with pytest.raises(MailAway, match="535"):
            run(wrong.check())
        with pytest.raises(MailAway, match="535"):
            run(wrong.send(a_mail()))
        with pytest.raises(MailAway, match="530"):
            run(mailer(box.port).send(a_mail()))


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("smtp://mail.example", (587, False, "offered")),
        ("smtp://a:b@mail.example", (587, False, "always")),
        ("smtp://a:b@localhost:25", (25, False, "offered")),
        ("smtp://a:b@mail.example:2525/?starttls=never", (2525, False, "never")),
        ("smtps://a:b@mail.example", (465, True, "always")),
        ("smtp://[::1]:1025", (1025, False, "offered")),
    ],
)
def test_a_server_by_its_url(url: str, found: tuple[int, bool, str]) -> None:
    server = mail_server(url)
    assert (server.port, server.tls, server.start_tls) == found


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "mail.example",
            "http://mail.example",
            "smtp://",
            "smtp://:25",
            "smtp://a:99999",
            "smtp://mail.example/x",
        ),
        *("smtp://a?starttls=perhaps", "smtp://a?tls=1", "smtps://a?starttls=never", "smtp://a\u200bb", "smtp://[::1"),
    ],
)
def test_a_url_of_no_mail_server(url: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        mail_server(url)


def test_who_mail_is_from() -> None:
    assert mail_sender("a@example.org") == ("", "a@example.org")
    assert mail_sender("Our, \u00e4 team <a@example.org>") == ("Our, \u00e4 team", "a@example.org")
    assert mail_sender('"Our team" <a@example.org>') == ("Our team", "a@example.org")
    for wrong in ("", "a", "a <b>", "a <b@c", "b@c>", "<a@b> <c@d>>", "a@b, c@d", "a@b\r\nBcc: c@d", "a\n <a@b>"):
        with pytest.raises(ValueError, match="expected"):
            mail_sender(wrong)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["550 No such user", "553 Odd address", "501 Syntax"])
def test_a_recipient_who_is_refused(reply: str) -> None:
    with Postbox(recipient=lambda address: reply) as box, pytest.raises(MailRefused, match=reply):
        run(mailer(box.port).send(a_mail()))


def test_a_mail_that_is_refused() -> None:
    with Postbox(content=lambda text: "554 Spam") as box, pytest.raises(MailRefused, match="554 Spam"):
        run(mailer(box.port).send(a_mail()))


@pytest.mark.parametrize("reply", ["450 Greylisted", "451 Later", "421 Going down", "530 Log in first"])
def test_a_recipient_who_is_put_off(reply: str) -> None:
    with Postbox(recipient=lambda address: reply) as box, pytest.raises(MailAway, match=reply[:3]):
        run(mailer(box.port).send(a_mail()))


def test_a_server_that_is_away_is_left_alone_for_a_while() -> None:
    with Postbox() as box:
        port = box.port
    away = mailer(port)
    with pytest.raises(MailAway) as first:
        run(away.send(a_mail()))
    assert first.value.tried
    box.port = port
    with box, pytest.raises(MailAway, match="Error connecting"):
        run(away.send(a_mail()))
    assert box.tried == 0


def test_a_server_that_says_nothing_holds_a_few_jobs_and_no_more() -> None:
    """It is connected to, and never greets."""

    async def main(silent: SmtpMailer) -> list[object]:
        tasks = [asyncio.create_task(silent.send(a_mail())) for _ in range(CONNECTIONS + 3)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert len(pending) == CONNECTIONS
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return [task.exception() for task in done]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusals = run(main(mailer(listener.getsockname()[1])))
    assert [isinstance(each, MailAway) and not each.tried for each in refusals] == [True] * 3


def test_a_server_that_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(MailAway):
            run(mailer(listener.getsockname()[1]).send(a_mail()))
        thread.join()


def test_the_postbox_is_a_mail_server_to_others_too() -> None:
    with Postbox() as box, smtplib.SMTP("127.0.0.1", box.port) as client:
        client.sendmail("a@example.org", ["b@example.org"], "Subject: Hello\r\n\r\nText\r\n")
        assert box.mails[0]["Subject"] == "Hello"
