"""Another server's fine-tuning when it, the network or this server fails: one job there, whatever happens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from everloom.kit.errors import BadRequest, ModelAway
from everloom.training.base import Began, CheckpointMade, Finished, Paused, Saved, TrainingFailed, TrainingTask, Warned
from everloom.training.upstream.trainer import UpstreamTrainer
from tests.loops import on_a_loop
from tests.training.fine_tuning_server import FineTuningServer
from tests.training.lines import chats, preferences


def trainer_of(server: FineTuningServer, **more: Any) -> UpstreamTrainer:
    return UpstreamTrainer({"gpt": "gpt-4o-mini"}, server.url, "key", **({"poll_s": 0.01, "patience_s": 5} | more))


def task(folder: Path, **more: Any) -> TrainingTask:
    given = {"training": chats(folder / "training.jsonl"), "folder": folder / "work", "method": "supervised"}
    return TrainingTask(job_id="ftjob_1", base="gpt", **(given | more))


def away(status: int = 503, **headers: str) -> web.Response:
    return web.json_response(
        {"error": {"message": "come again", "type": "server_error"}}, status=status, headers=headers
    )


@on_a_loop
async def test_the_job_there_is_what_was_asked_for(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        given = {"suffix": "mine", "n_epochs": 3, "validation": chats(tmp_path / "valid.jsonl", 2), "seed": 9}
        async for _ in trainer_of(server).train(task(tmp_path, **given)).events():
            pass
        (body,) = server.bodies
        assert body == {
            "model": "gpt-4o-mini",
            "training_file": "file-0",
            "validation_file": "file-1",
            "suffix": "mine",
            "seed": 9,
            "hyperparameters": {"n_epochs": 3},
        }
        assert server.files["file-0"] == (tmp_path / "training.jsonl").read_bytes()


@on_a_loop
async def test_preferences(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        given = {"method": "dpo", "training": preferences(tmp_path / "pairs.jsonl"), "beta": 0.2}
        async for _ in trainer_of(server).train(task(tmp_path, **given)).events():
            pass
        assert server.bodies[0]["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}


@on_a_loop
async def test_outages_are_waited_out(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        server.answers += [away(), away(502), away(429, **{"retry-after-ms": "5"})]
        events = []
        async for event in trainer_of(server).train(task(tmp_path)).events():
            events.append(event)
            if isinstance(event, Saved | CheckpointMade):
                server.answers += [away(), away(500)]
        assert isinstance(events[-1], Finished)
        assert len(server.bodies) == 1


@on_a_loop
async def test_a_job_whose_answer_was_lost_is_not_made_again(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        server.loses = 1
        events = [event async for event in trainer_of(server).train(task(tmp_path)).events()]
        assert isinstance(events[-1], Finished)
        assert len(server.jobs) == 1


@on_a_loop
async def test_whoever_goes_on_follows_the_same_job_from_any_state(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        states = []
        async for event in trainer_of(server).train(task(tmp_path)).events():
            if isinstance(event, Saved):
                states.append(tmp_path / f"state-{len(states)}")
                states[-1].write_bytes(event.state.read_bytes())
        assert len(states) >= 3
        for state in states:
            run = trainer_of(server).train(task(tmp_path, state=state))
            events = [event async for event in run.events()]
            assert isinstance(events[-1], Finished)
            assert len([event for event in events if isinstance(event, Began)]) == 1
            assert [event.last for event in events if isinstance(event, CheckpointMade)][-1]
        assert len(server.jobs) == 1
        assert len(server.files) == 1


@on_a_loop
async def test_an_upstream_that_stays_away_gives_the_job_back(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        url, state = server.url, None
        server.stuck = True
        run = trainer_of(server).train(task(tmp_path))
        async for event in run.events():
            if isinstance(event, Saved) and b"ftjob" in event.state.read_bytes():
                state = event.state
                break
    gone = UpstreamTrainer({"gpt": "x"}, url, poll_s=0.01, patience_s=0.2).train(task(tmp_path, state=state))
    with pytest.raises(ModelAway):
        async for _ in gone.events():
            pass


@on_a_loop
async def test_a_job_that_fails_there_fails_here_in_its_words(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        server.fails = {"code": "bad_data", "message": "Line 3 is odd.", "param": "training_file"}
        with pytest.raises(TrainingFailed, match="Line 3 is odd") as failed:
            async for _ in trainer_of(server).train(task(tmp_path)).events():
                pass
        assert failed.value.code == "bad_data"


@on_a_loop
async def test_what_is_refused_there_fails_here(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        refused = {
            "error": {"message": "No such model.", "type": "invalid_request_error", "code": "model_not_available"}
        }
        async for event in (run := trainer_of(server).train(task(tmp_path))).events():
            assert isinstance(event, Saved)
            server.answers += [web.json_response({"data": []}), web.json_response(refused, status=400)]
            break
        state = event.state
        run = trainer_of(server).train(task(tmp_path, state=state))
        server.answers.appendleft(web.json_response({"data": []}))
        with pytest.raises(TrainingFailed, match="No such model"):
            async for _ in run.events():
                pass


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(body=b"x" * (20 << 20)),
        lambda: web.Response(body=b"[" * 100_000),
        lambda: web.json_response({"id": "", "status": "running"}),
        lambda: web.json_response({"id": 7}),
    ],
)
@on_a_loop
async def test_answers_that_are_none_are_bounded_and_refused(
    answer: Callable[[], web.Response], tmp_path: Path
) -> None:
    async with FineTuningServer() as server:
        server.answers.append(answer())
        with pytest.raises(TrainingFailed, match="no fine-tuning of the reference"):
            async for _ in trainer_of(server).train(task(tmp_path)).events():
                pass


@on_a_loop
async def test_an_upstream_that_cannot_pause_goes_on(tmp_path: Path) -> None:
    async with FineTuningServer(pauses=False) as server:
        run = trainer_of(server).train(task(tmp_path))
        events = []
        async for event in run.events():
            events.append(event)
            if isinstance(event, CheckpointMade):
                run.pause()
        assert isinstance(events[-1], Paused)
        assert any(isinstance(event, Warned) and "cannot pause" in event.message for event in events)
        saved = [event for event in events if isinstance(event, Saved)][-1]
        again = [event async for event in trainer_of(server).train(task(tmp_path, state=saved.state)).events()]
        assert isinstance(again[-1], Finished)
        assert len(server.jobs) == 1


@on_a_loop
async def test_one_that_is_closed_before_it_is_gone_on_with_is_cancelled_there(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        server.stuck = True
        async for event in trainer_of(server).train(task(tmp_path)).events():
            if isinstance(event, Saved) and server.jobs:
                state = event.state
                break
        run = trainer_of(server).train(task(tmp_path, state=state))
        await run.cancel()
        assert [job["status"] for job in server.jobs.values()] == ["cancelled"]
        await run.cancel()


@on_a_loop
async def test_a_server_without_fine_tuning_is_told_apart(tmp_path: Path) -> None:
    async with FineTuningServer() as server:
        await trainer_of(server).check("gpt", "supervised")
        nothing = UpstreamTrainer({"gpt": "x"}, server.url + "/nothing")
        with pytest.raises(BadRequest, match="has none") as refused:
            await nothing.check("gpt", "supervised")
        assert refused.value.param == "model"
