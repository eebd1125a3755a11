"""Invites by mail, on both databases: with the answer, once the mail server is back, or not at all."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.builders import fetched, posted
from tests.organization import INVITES, admin_of, an_email, refused
from tests.postbox import Postbox, text_of, until
from tests.postgres import fresh_database
from tests.servers import Everloom

Mailing = tuple[Everloom, Postbox]


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def mailing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailing]:
    """A server on either database, and the mail server of its settings, not open."""
    box = Postbox(recipient=lambda address: "550 No such user" if address.startswith("nobody") else None)
    database = {"database": fresh_database()} if request.param == "postgres" else {}
    folder = tmp_path_factory.mktemp("mail")
    mail = {"smtp_url": f"smtp://127.0.0.1:{box.port}", "mail_from": "The team <team@example.org>"}
    with Everloom(folder, log_level="info", **mail, **database) as server:
        yield server, box


def invited(admin: httpx.Client, email: str) -> str:
    link: str = posted(admin, INVITES, {"email": email, "role": "reader"})["accept_url"]
    return link


def test_an_invite_waits_for_the_mail_server_and_is_accepted_by_its_link(mailing: Mailing) -> None:
    server, box = mailing
    email = an_email()
    with admin_of(server) as admin:
        link = invited(admin, email)
        with box:
            (mail,) = box.wait(1)
            assert (mail["To"], mail["From"], mail["Subject"]) == (
                email,
                "The team <team@example.org>",
                "Invitation to everloom",
            )
            (told,) = re.findall(r"https?://\S+", text_of(mail))
            assert told == link
            assert "as reader" in text_of(mail)
            assert httpx.post(told, timeout=30).json()["email"] == email


def test_a_recipient_who_is_refused_hinders_nobody(mailing: Mailing) -> None:
    server, box = mailing
    already = len(box.mails)
    with box, admin_of(server) as admin:
        invited(admin, f"nobody.{an_email()}")
        email = an_email()
        invited(admin, email)
        assert box.wait(already + 1)[-1]["To"] == email
        box.wait_for_tries(already + 2)
        assert len(fetched(admin, INVITES)["data"]) >= 2
    until(lambda: any("was refused: 550 No such user" in line for line in server.output))


def test_what_no_mail_reaches_is_no_address(mailing: Mailing) -> None:
    server, _ = mailing
    with admin_of(server) as admin:
        before = fetched(admin, INVITES)["data"]
        for email in ("a,b@example.org", "<a@example.org>", "a@example.org>", "a@[127.0.0.1]"):
            answer = admin.post(INVITES, json={"email": email, "role": "reader"})
            assert refused(answer, 400, "invalid_value") == "Invalid 'email': no mail can be sent there."
        assert fetched(admin, INVITES)["data"] == before


def test_no_mail_is_sent_where_the_invite_is_refused(mailing: Mailing) -> None:
    server, box = mailing
    email = an_email()
    with box, admin_of(server) as admin:
        httpx.post(invited(admin, email), timeout=30)
        refused(admin.post(INVITES, json={"email": email, "role": "owner"}), 400, "user_exists")
        last = an_email()
        invited(admin, last)
        mails = box.wait(1)
        while mails[-1]["To"] != last:
            mails = box.wait(len(mails) + 1)
        assert [mail["To"] for mail in mails].count(email) == 1


def test_the_password_is_in_no_log(tmp_path: Path) -> None:
    box = Postbox()
    url = f"smtp://us:p%40ssw0rd-of-mail@127.0.0.1:{box.port}?starttls=always"
    settings = {"smtp_url": url, "mail_from": "a@example.org", "log_level": "debug"}
    with Everloom(tmp_path, **settings) as server, box, admin_of(server) as admin:
        invited(admin, an_email())
        until(lambda: any("has to wait" in line for line in server.output))
    assert not any("ssw0rd-of-mail" in line for line in server.output)
