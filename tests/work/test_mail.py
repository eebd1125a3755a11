"""Mails that wait, are sent, are refused, or are given up, with a real mail server behind them or none."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.context import Context
from everloom.mail.base import MailAway, Mailer, mail_sender, mail_server
from everloom.mail.smtp import SmtpMailer
from everloom.objects.mail import Mail
from everloom.store.base import LONGEST_WAIT, SYSTEM, Change
from everloom.work.organization.mail import GIVE_UP_SECONDS, LONGEST_PAUSE, MAIL_JOB, deliver, letter
from tests.postbox import Postbox, text_of
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import on_a_server

Check = Callable[[Context, Postbox], Awaitable[None]]


def with_mail(check: Check) -> Callable[[Path], None]:
    """A test on a store whose mail goes to a postbox that is not open yet."""

    @on_a_server
    async def test(ctx: Context, upstream: ScriptedUpstream) -> None:
        box = Postbox()
        mailer = SmtpMailer(mail_server(f"smtp://127.0.0.1:{box.port}"), mail_sender("everloom@example.org"))
        await check(mailing(ctx, mailer), box)

    test.__name__ = check.__name__
    return test


def mailing(ctx: Context, mailer: Mailer | None) -> Context:
    return Context.of(msgspec.structs.replace(ctx.ports, mailer=mailer), SYSTEM)


async def kept(ctx: Context, to: str = "a@example.org", subject: str = "Subject") -> Mail:
    await ctx.store.write(*letter(ctx.ports, to, subject, "Text\n"))
    return (await ctx.store.all(Mail))[-1]


async def due_now(ctx: Context, mail: Mail, **fields: Any) -> None:
    """Have a mail's time come, or other fields of it be so."""

    def edit(mail: Mail) -> None:
        for name, value in ({"due_at": 0} | fields).items():
            setattr(mail, name, value)

    await ctx.store.write(Change(Mail, mail.id, edit))


async def jobs(ctx: Context) -> list[str]:
    return [job.key for job in await ctx.ports.database.waiting("live", 100) if job.kind == MAIL_JOB]


@with_mail
async def test_a_mail_is_kept_with_its_job_sent_and_forgotten(ctx: Context, box: Postbox) -> None:
    mail = await kept(ctx, subject="Invitation\r\nBcc: thief@example.org")
    assert await jobs(ctx) == [mail.id]
    with box:
        await deliver(ctx.ports, ctx.project, mail.id)
        await deliver(ctx.ports, ctx.project, mail.id)
        (sent,) = box.mails
    assert (sent["Subject"], sent["Bcc"], text_of(sent)) == ("Invitation Bcc: thief@example.org", None, "Text\n")
    assert await ctx.store.all(Mail) == []


@with_mail
async def test_a_server_that_is_away_is_tried_after_growing_pauses(ctx: Context, box: Postbox) -> None:
    mail = await kept(ctx)
    pauses = []
    for tries in range(1, 17):
        before = mail.due_at
        await due_now(ctx, mail)
        await deliver(ctx.ports, ctx.project, mail.id)
        mail = await ctx.store.get(Mail, mail.id)
        assert mail.tries == tries
        pauses.append(mail.due_at - before)
    assert LONGEST_PAUSE / 2 - 5 <= mail.due_at - mail.created_at <= LONGEST_PAUSE + 5
    # Before its time it is not tried, and a job is there for it again.
    await ctx.ports.database.done([job.id for job in await ctx.ports.database.waiting("live", 100)])
    with box:
        await deliver(ctx.ports, ctx.project, mail.id)
        assert box.mails == []
        assert (await ctx.store.get(Mail, mail.id)).tries == 16
        await due_now(ctx, mail)
        ctx = mailing(ctx, SmtpMailer(mail_server(f"smtp://127.0.0.1:{box.port}"), ("", "everloom@example.org")))
        await deliver(ctx.ports, ctx.project, mail.id)
        assert len(box.mails) == 1
    assert await ctx.store.all(Mail) == []


@with_mail
async def test_a_mail_is_given_up_after_days(ctx: Context, box: Postbox) -> None:
    mail = await kept(ctx)
    await due_now(ctx, mail, created_at=mail.created_at - GIVE_UP_SECONDS + 60)
    await deliver(ctx.ports, ctx.project, mail.id)
    await due_now(ctx, mail, created_at=mail.created_at - GIVE_UP_SECONDS - 60)
    await deliver(ctx.ports, ctx.project, mail.id)
    assert await ctx.store.all(Mail) == []


@on_a_server
async def test_a_process_without_a_mail_server_leaves_mails_to_others(ctx: Context, upstream: ScriptedUpstream) -> None:
    assert letter(ctx.ports, "a@example.org", "Subject", "Text") == ()
    mail = await kept(mailing(ctx, SmtpMailer(mail_server("smtp://127.0.0.1:1"), ("", "a@example.org"))))
    await deliver(ctx.ports, SYSTEM, mail.id)
    assert (await mailing(ctx, None).store.get(Mail, mail.id)).tries == 1


@with_mail
async def test_what_is_no_address_gets_no_mail(ctx: Context, box: Postbox) -> None:
    assert letter(ctx.ports, "nobody", "Subject", "Text") == ()
    assert letter(ctx.ports, "a@example.org\r\nBcc: b@example.org", "Subject", "Text") == ()


@pytest.mark.parametrize("refusal", [{"recipient": lambda _: "550 No such user"}, {"content": lambda _: "554 Spam"}])
def test_what_is_refused_ends_with_a_line_in_the_log(
    refusal: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @on_a_server
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        with Postbox(**refusal) as box:
            ctx = mailing(ctx, SmtpMailer(mail_server(f"smtp://127.0.0.1:{box.port}"), ("", "a@example.org")))
            mail = await kept(ctx)
            await deliver(ctx.ports, ctx.project, mail.id)
            assert await ctx.store.all(Mail) == []

    with caplog.at_level(logging.WARNING):
        check(tmp_path)
    assert "to a@example.org was refused: 55" in caplog.text


@on_a_server
async def test_a_mail_for_which_there_is_no_place_is_not_counted_as_tried(
    ctx: Context, upstream: ScriptedUpstream
) -> None:
    class Busy:
        async def send(self, mail: Mail) -> None:
            raise MailAway("other mails are being sent", tried=False)

        async def check(self) -> str:
            return ""

    ctx = mailing(ctx, Busy())
    mail = await kept(ctx)
    await deliver(ctx.ports, ctx.project, mail.id)
    mail = await ctx.store.get(Mail, mail.id)
    assert mail.tries == 0
    assert mail.due_at > mail.created_at
    assert mail.due_at - mail.created_at < LONGEST_WAIT


@with_mail
async def test_mails_that_are_sent_at_once_all_arrive(ctx: Context, box: Postbox) -> None:
    with box:
        mails = [await kept(ctx, f"{number}@example.org") for number in range(40)]
        while mails:
            await asyncio.gather(*(deliver(ctx.ports, ctx.project, mail.id) for mail in mails))
            mails = await ctx.store.all(Mail)
            for mail in mails:
                await due_now(ctx, mail)
        assert len({mail["To"] for mail in box.mails}) == len(box.mails) == 40
