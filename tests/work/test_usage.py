"""Upkeep of the ledger, what tools of runs add to it, and what it all costs."""

import calendar
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from everloom.context import Context
from everloom.context.pricing import PriceList
from everloom.objects.ledger import DAY, HOUR, MEASURES, LedgerQuery, LedgerRow, LedgerSum
from everloom.objects.prices import Price
from everloom.objects.quotas import NANO, Share, Spend
from everloom.objects.runs import CodeSession, Run, ToolWork
from everloom.objects.usage import CostsQuery, ProjectUsageQuery, VectorStoresUsage
from everloom.store.base import SYSTEM, Add, Change
from everloom.work.runs.tool_costs import cost_of_call
from everloom.work.threads.threads import remove_thread
from everloom.work.usage import ledger, quotas, reports
from tests.scripted import ScriptedUpstream
from tests.store.things import a_run, a_thread
from tests.work.test_ingest import a_store, on_a_server, work


async def sums(ctx: Context, *kinds: Any) -> list[LedgerSum]:
    query = LedgerQuery(start=int(time.time()) - DAY, end=int(time.time()) + 10, width=DAY, kinds=kinds)
    return await ctx.ports.database.ledger.total(query)


def nothing(**some: int) -> dict[str, int]:
    return dict.fromkeys(MEASURES, 0) | some


@on_a_server
async def test_bytes_of_vector_stores_are_sampled_once_an_hour(ctx: Context, upstream: ScriptedUpstream) -> None:
    await ledger.sample(ctx.ports)
    assert await sums(ctx, "storage") == []
    store, _ = await a_store(ctx, "apples are red")
    await work(ctx)
    size = (await ctx.store.get(type(store), store.id)).usage_bytes
    assert size > 0
    for _ in range(3):
        await ledger.sample(ctx.ports)
    found = await sums(ctx, "storage")
    assert sum(each.sums["bytes"] for each in found) in (size, 2 * size)  # two where an hour has just begun
    start = int(time.time()) // HOUR * HOUR
    page = await reports.usage(ctx, VectorStoresUsage, ProjectUsageQuery(start_time=start, group_by=["project_id"]))
    results = msgspec.to_builtins(page.data[-1].results)
    assert [(result["usage_bytes"], result["project_id"]) for result in results] == [(size, "proj_a")]


@on_a_server
async def test_bytes_of_a_day_are_the_mean_of_its_hours(ctx: Context, upstream: ScriptedUpstream) -> None:
    day = int(time.time()) // DAY * DAY - 2 * DAY
    rows = [
        LedgerRow(at=day + number * HOUR, project="proj_a", kind="storage", requests=0, bytes=2400)
        for number in range(12)
    ]
    await ctx.ports.database.ledger.append(rows)
    page = await reports.usage(ctx, VectorStoresUsage, ProjectUsageQuery(start_time=day, end_time=day + DAY))
    assert [each["usage_bytes"] for each in msgspec.to_builtins(page.data[0].results)] == [1200]


@on_a_server
async def test_hours_that_are_over_are_rolled_up(ctx: Context, upstream: ScriptedUpstream) -> None:
    old = int(time.time()) - 3 * HOUR
    rows = [LedgerRow(at=old, project="proj_a", kind="chat", input_tokens=1) for _ in range(10)]
    await ctx.ports.database.ledger.append([*rows, LedgerRow(at=int(time.time()), project="proj_a", kind="chat")])
    before = await sums(ctx, "chat")
    await ledger.roll(ctx.ports)
    assert await sums(ctx, "chat") == before
    assert await ctx.ports.database.ledger.roll(int(time.time()) + 1) == 1  # only the row of now was left


@on_a_server
async def test_a_session_of_the_interpreter_lasts_an_hour(ctx: Context, upstream: ScriptedUpstream) -> None:
    thread = a_thread()
    run = a_run(thread.id, status="completed")
    await ctx.store.write(Add(thread), Add(run))

    async def call(type: str = "code_interpreter") -> None:
        made = ToolWork(
            id="work_1", created_at=1, run_id=run.id, step_id="step_1", call_id="c", type=type, arguments=""
        )
        async with cost_of_call(ctx, run, made) as cost:
            await ctx.store.write(*cost.begun())
            await ctx.store.write(*cost.ended(["vs_1"]))

    async def counted(kind: str) -> int:
        return sum(each.sums["requests"] for each in await sums(ctx, kind))

    for _ in range(3):
        await call()
    await call("file_search")
    assert (await counted("session"), await counted("search")) == (1, 1)

    def age(session: CodeSession) -> None:
        session.created_at -= 3600

    await ctx.store.write(Change(CodeSession, thread.id, age))
    await call()
    await call()
    assert await counted("session") == 2
    await remove_thread(ctx, thread.id)
    assert await ctx.store.all(CodeSession) == []
    assert await ctx.store.all(Run) == []


@on_a_server
async def test_a_month_that_a_wrong_clock_has_begun_is_left_again(ctx: Context, upstream: ScriptedUpstream) -> None:
    store, month = ctx.ports.database.store(SYSTEM), time.strftime("%Y-%m", time.gmtime())
    tenth = calendar.timegm(time.strptime(f"{month}-10", "%Y-%m-%d"))
    spend = Spend(id="proj_a", created_at=0, month=month, settled=5, alerts=["alert_1"])
    spend.turn("2099-01")
    assert (spend.month, spend.settled, spend.alerts) == ("2099-01", 0, [])
    spend.turn(month)
    assert spend.month == "2099-01"  # A clock that goes back alone does not do it.
    spend.shares["proc_1"] = Share(held=1)
    await store.write(Add(spend))
    row = LedgerRow(at=int(time.time()), project="proj_a", kind="chat", model="m", input_tokens=1000)
    await ctx.ports.database.ledger.append([row])
    ports = msgspec.structs.replace(ctx.ports, prices=PriceList((Price(model="m", input=1.0),), defaults=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quotas, "now", lambda: tenth)
        await quotas.compare(ports)
    spend = await store.get(Spend, "proj_a")
    assert (spend.month, spend.settled, spend.alerts) == (month, NANO // 1000 - 1, ["alert_1"])


# --- prices --------------------------------------------------------------------------------------------------------

PRICES = PriceList(
    (
        Price(model="gpt-4o-mini", input=0.15, output=0.6),
        Price(model="gpt-4o*", input=2.5, cached_input=1.25, output=10, audio_input=40, audio_output=80, batch=0.5),
        Price(model="dall-e-?", image=0.04),
        Price(model="tts", characters=15),
        Price(model="whisper", minute=0.006),
        Price(model="file_search", call=0.0025, gigabyte_day=0.1),
        Price(model="code_interpreter", session=0.03),
        Price(model="sonar", input=1, call=0.005),
        Price(model="painter", output=10, image_output=40),
        Price(model="all-round", input=1, output=10, image=0.04),
        Price(model="by-both", image=0.04, image_output=40),
    ),
    defaults=False,
)


@pytest.mark.parametrize(
    ("kind", "model", "used", "items"),
    [
        ("chat", "gpt-4o-mini", {"input_tokens": 1_000_000, "output_tokens": 10}, {"input": 0.15, "output": 6e-6}),
        (
            "chat",
            "gpt-4o",
            {"input_tokens": 1000, "cached_tokens": 600, "input_audio_tokens": 100, "output_tokens": 50,
             "output_audio_tokens": 20},
            {"input": 0.00075, "cached input": 0.00075, "audio input": 0.004, "output": 0.0003, "audio output": 0.0016},
        ),
        ("draw", "dall-e-2", {"images": 3}, {"images": 0.12}),
        ("speak", "tts", {"characters": 2000}, {"characters": 0.03}),
        ("transcribe", "whisper", {"milliseconds": 90_000}, {"audio": 0.009}),
        ("search", "", {"requests": 4}, {"calls": 0.01}),
        ("session", "", {"requests": 2}, {"sessions": 0.06}),
        ("storage", "", {"bytes": 48 * 2**30}, {"storage": 0.2}),
        ("chat", "sonar", {"input_tokens": 1000, "requests": 2}, {"requests": 0.01, "input": 0.001}),
        ("draw", "painter", {"images": 1, "output_tokens": 1000}, {"images": 0, "input": 0, "output": 0.04}),
        ("draw", "all-round", {"images": 3, "output_tokens": 18_720}, {"images": 0.12, "input": 0, "output": 0}),
        ("draw", "by-both", {"images": 1, "output_tokens": 1000}, {"images": 0.04, "input": 0, "output": 0.04}),
        ("chat", "all-round", {"output_tokens": 1000}, {"input": 0, "output": 0.01}),
        ("chat", "smollm2-135m", {"input_tokens": 1000}, {"input": 0.0}),
        ("moderate", "minilm-moderation", {}, {}),
        (
            "chat",
            "gpt-4o",
            {"input_tokens": 100, "cached_tokens": 10**9, "input_audio_tokens": 10**9, "output_tokens": 50,
             "output_audio_tokens": 10**9},
            {"input": 0, "audio input": 0.004, "output": 0, "audio output": 0.004},
        ),
    ],
)  # fmt: skip
def test_use_costs_what_the_prices_say(kind: Any, model: str, used: dict[str, int], items: dict[str, float]) -> None:
    found = PRICES.bill(kind, model, False, nothing(**used))
    assert {item.name.partition(", ")[2]: item.dollars for item in found} == pytest.approx(items)
    assert PRICES.dollars(kind, model, False, nothing(**used)) == pytest.approx(sum(items.values()))


def test_a_batch_pays_its_share() -> None:
    used = nothing(input_tokens=1_000_000)
    assert [PRICES.bill("chat", "gpt-4o", batch, used)[0].dollars for batch in (False, True)] == [2.5, 1.25]


def test_costs_are_told_apart_by_project_key_and_item(tmp_path: Path) -> None:
    async def check(ctx: Context, upstream: ScriptedUpstream) -> None:
        ctx = Context.of(msgspec.structs.replace(ctx.ports, prices=PRICES), "")
        now = int(time.time())
        rows = [
            LedgerRow(at=now, project=project, kind="chat", key_id=key, model="gpt-4o", input_tokens=tokens)
            for project, key, tokens in (("a", "k1", 1_000_000), ("a", "k2", 2_000_000), ("b", "", 4_000_000))
        ]
        await ctx.ports.database.ledger.append(rows)

        async def asked(*keys: Any) -> list[tuple[Any, ...]]:
            page = await reports.costs(ctx, CostsQuery(start_time=now, group_by=list(keys)))
            results = msgspec.to_builtins(page.data[0].results)
            names = ("project_id", "api_key_id", "line_item")
            return sorted((*(each[name] for name in names), each["amount"]["value"]) for each in results)

        assert await asked() == [(None, None, None, 17.5)]
        assert await asked("project_id") == [("a", None, None, 7.5), ("b", None, None, 10.0)]
        assert await asked("line_item", "project_id") == [
            ("a", None, "gpt-4o, input", 7.5),
            ("b", None, "gpt-4o, input", 10.0),
        ]
        assert await asked("api_key_id", "project_id") == [
            ("a", "k1", None, 2.5),
            ("a", "k2", None, 5.0),
            ("b", None, None, 10.0),
        ]

    on_a_server(check)(tmp_path)
