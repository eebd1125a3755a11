"""What stands in the ledger of requests whose end nobody has told: what was reserved for them, and nothing twice."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from everloom.context import Context
from everloom.context.admission import Ticket, needs
from everloom.context.admission.needs import Need
from everloom.context.admission.reservations import ReservationLine
from everloom.context.admission.tickets import Account, Experience
from everloom.context.caller import Caller
from everloom.context.ledger import row_of
from everloom.context.metering import UsageRecord
from everloom.context.pricing import PriceList
from everloom.models.base import Capability, Form, FormFile
from everloom.objects.ledger import DAY, LedgerQuery, LedgerRow
from everloom.objects.prices import Price
from everloom.objects.quotas import Reservation, ServerProcess
from everloom.store.base import SYSTEM, Add
from everloom.work.usage import quotas
from tests.models.test_tokens import wav
from tests.scripted import ScriptedUpstream
from tests.work.test_ingest import on_a_server

CALLER = Caller(project="proj_a", key_id="key_a", user="user_a")
PRICES = PriceList(
    (
        Price(model="by-minute", minute=0.006, input=2.5, output=10),
        Price(model="by-token", input=2.5),
        Price(model="*", input=1, output=10, image=0.04),
    ),
    defaults=False,
)


def reserved(kind: str, model: str, *amounts: int) -> Reservation:
    return Reservation(
        id=f"rsv_{kind}_{model}",
        created_at=0,
        process_id="proc_dead",
        project_id="proj_a",
        kind=kind,
        key_id="",
        user_id="",
        model=model,
        batch=False,
        amounts=[*amounts],
    )


@on_a_server
async def test_what_a_dead_process_had_reserved_is_billed_once(ctx: Context, upstream: ScriptedUpstream) -> None:
    dead = ServerProcess(id="proc_dead", created_at=0, until=0, place="elsewhere", pid=1, started=0.0)
    reservations = (
        reserved("draw", "painter", 1, 0, 6_240, 1, 0, 0),
        reserved("transcribe", "by-minute", 1, 1_200, 0, 0, 0, 60_000),
        reserved("transcribe", "by-token", 1, 1_200, 0, 0, 0, 60_000),
    )
    await ctx.ports.database.store(SYSTEM).write(Add(dead), *map(Add, reservations))
    await quotas.bury(replace(ctx.ports, prices=PRICES))
    asked = LedgerQuery(
        start=int(time.time()) - DAY,
        end=int(time.time()) + 10,
        width=DAY,
        kinds=("draw", "transcribe"),
        group_by=("kind", "model"),
    )
    found = await ctx.ports.database.ledger.total(asked)
    costs = {
        each.group["model"]: PRICES.dollars(each.group["kind"], each.group["model"], False, each.sums) for each in found
    }
    assert costs == pytest.approx({"painter": 0.04, "by-minute": 0.006, "by-token": 0.003})


def left(kind: Capability, model: str, need: Need, **known: float) -> LedgerRow:
    """The row of a request whose caller has left before its end."""
    account = Account(
        ReservationLine(CALLER, kind, model), None, (), Experience(), PRICES.of(model), 1.0, lambda row: 0
    )
    ticket = Ticket(account, need, lambda account: None)
    record = UsageRecord(caller=CALLER, capability=kind, model=model, ticket=ticket)
    for name, value in known.items():
        setattr(record, name, value)
    record.believe_reserved()
    row = row_of(record)
    assert row is not None
    assert row.estimated
    return row


def test_who_leaves_before_the_end_pays_in_what_the_model_is_paid_in() -> None:
    drawn = left("draw", "painter", needs.of_images(3))
    assert (drawn.images, drawn.output_tokens) == (3, 3 * 6_240)
    assert left("draw", "painter", needs.of_images(3), images=1).images == 3
    assert left("speak", "tts", needs.of_speech({"input": "Hello."})).characters == 6
    heard = left("transcribe", "by-minute", Need(milliseconds=60_000))
    assert (heard.milliseconds, heard.input_tokens) == (60_000, 0)
    assert left("transcribe", "by-token", Need(milliseconds=60_000)).input_tokens == 1_200
    assert left("transcribe", "by-token", Need(milliseconds=60_000), audio_seconds=30.0).milliseconds == 30_000


def test_plain_sound_is_as_long_as_its_head_says(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(60))
    (tmp_path / "a.mp3").write_bytes(bytes(60_000))
    for name, most in (("a.wav", 60_100), ("a.mp3", 60_000), ("gone.wav", 60_000)):
        path = tmp_path / name
        size = path.stat().st_size if path.exists() else 60_000
        file = FormFile(field="file", filename=name, content_type="audio/wav", path=path, size=size)
        need = needs.of_transcription(Form(fields=(), files=(file,)))
        assert need.audio_bytes == size
        assert 60_000 <= need.milliseconds <= most
