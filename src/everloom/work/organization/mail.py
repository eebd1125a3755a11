"""Mail to people: kept in the write of what it tells, and sent by a job until a mail server has taken it."""

import logging
import random
from contextlib import suppress

from everloom.context import Ports
from everloom.kit.backoff import Backoff
from everloom.kit.clock import now
from everloom.kit.errors import NotFound
from everloom.kit.ids import new_id
from everloom.kit.log import outage
from everloom.mail.base import MailAway, MailRefused
from everloom.objects.mail import LONGEST_SUBJECT, LONGEST_TEXT, Mail, is_address, one_line
from everloom.store.base import LONGEST_WAIT, Add, Change, Operation, Remove, Start

log = logging.getLogger(__name__)

MAIL_JOB = "mail"
"""Sends one mail: ``deliver``, by its id."""

GIVE_UP_SECONDS = 5 * 24 * 3600
"""How long a mail is tried again, as mail servers among themselves do."""

LONGEST_PAUSE = 900.0
"""Seconds between two tries."""

_BUSY_PAUSE = 5.0
"""Seconds until a mail for which there was no place is looked at again, or so; more where it has waited long."""


def letter(ports: Ports, to: str, subject: str, text: str) -> tuple[Operation, ...]:
    """What keeps a mail and has it sent: to be written with what it tells of. Nothing where no mail server is set, or
    to what is no address; never raises.
    """
    if ports.mailer is None:
        return ()
    if not is_address(to):
        log.warning("no mail is sent to %r, which is no address", to)
        return ()
    subject = one_line(subject)[:LONGEST_SUBJECT]
    mail = Mail(id=new_id("mail_"), created_at=now(), to=to, subject=subject, text=text[:LONGEST_TEXT])
    return Add(mail), Start(MAIL_JOB, mail.id)


async def deliver(ports: Ports, project: str, mail_id: str) -> None:
    """Send a mail, and forget it. It is sent at least once: a process that dies between the two sends it again."""
    store = ports.database.store(project)
    with suppress(NotFound):  # it was sent, by this job or another
        mail = await store.get(Mail, mail_id)
        if (wait := mail.due_at - now()) > 0:
            await store.write(Start(MAIL_JOB, mail_id, after=min(wait, LONGEST_WAIT)))
            return
        await store.write(*await _tried(ports, mail))


async def _tried(ports: Ports, mail: Mail) -> list[Operation]:
    """Try to send a mail; what is to be kept of that."""
    try:
        if ports.mailer is None:
            raise MailAway("no mail server is set in the settings of this process")
        await ports.mailer.send(mail)
    except MailAway as away:
        return _put_off(mail, away)
    except MailRefused as refused:
        log.warning("the mail %s to %s was refused: %s", mail.id, mail.to, refused)
    else:
        log.info("sent the mail %s to %s", mail.id, mail.to)
    return [Remove(Mail, mail.id)]


def _put_off(mail: Mail, away: MailAway) -> list[Operation]:
    """Have it tried later, in nobody's place meanwhile; or give up."""
    outage(f"the mail {mail.id}", away)
    if now() - mail.created_at > GIVE_UP_SECONDS:
        log.error("the mail %s to %s is given up after %d tries: %s", mail.id, mail.to, mail.tries, away)
        return [Remove(Mail, mail.id)]
    tries = mail.tries + away.tried
    pause = Backoff(tries, LONGEST_PAUSE).pause()
    if not away.tried:
        pause = max(pause, _BUSY_PAUSE * random.uniform(0.5, 1.5))

    def edit(mail: Mail) -> None:
        mail.tries, mail.due_at = tries, now() + round(pause)

    return [Change(Mail, mail.id, edit), Start(MAIL_JOB, mail.id, after=min(pause, LONGEST_WAIT))]
