"""Another server that has fine-tuning, scripted: files, jobs, their events and checkpoints, over real HTTP.

A running job makes a step each time it is looked at; ``at_once``, all of them when it is made, but for a job with the
suffix ``slow``, which runs until it was paused and resumed. ``answers`` are given instead of what a request would get,
first come first served; ``loses`` counts creations that are done and whose answers are cut off.
"""

import asyncio
from collections import deque
from typing import Any

from aiohttp import web

STEPS = 4
SLOW = "slow"


class FineTuningServer:
    """Used as ``async with FineTuningServer() as server``; ``url`` ends in ``/v1``. Or else another server has its
    operations of fine-tuning, by ``add_to``.
    """

    def __init__(self, *, pauses: bool = True, at_once: bool = False) -> None:
        self.url = ""
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.bodies: list[dict[str, Any]] = []
        """Of the jobs that were created."""
        self.answers: deque[web.Response] = deque()
        self.loses = 0
        self.stuck = False
        """Running jobs make no steps."""
        self.fails: dict[str, Any] | None = None
        """What the next job fails with."""
        self.changed = asyncio.Condition()
        self._events: dict[str, list[dict[str, Any]]] = {}
        self._pauses = pauses
        self._at_once = at_once
        self._runner: web.AppRunner | None = None

    def add_to(self, app: web.Application) -> None:
        """Have ``app`` take jobs, and their files, as this server does."""
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/fine_tuning/jobs", self._list)
        app.router.add_post("/v1/fine_tuning/jobs", self._create)
        app.router.add_get("/v1/fine_tuning/jobs/{id}", self._get)
        app.router.add_get("/v1/fine_tuning/jobs/{id}/events", self._get_events)
        app.router.add_get("/v1/fine_tuning/jobs/{id}/checkpoints", self._get_checkpoints)
        verbs = ("cancel", "pause", "resume") if self._pauses else ("cancel",)
        for verb in verbs:
            app.router.add_post(f"/v1/fine_tuning/jobs/{{id}}/{verb}", self._move)

    async def __aenter__(self) -> "FineTuningServer":
        app = web.Application(middlewares=[self._instead])
        self.add_to(app)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @web.middleware
    async def _instead(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return self.answers.popleft() if self.answers else await handler(request)
        finally:
            async with self.changed:
                self.changed.notify_all()

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "fine-tune"
        name = f"file-{len(self.files)}"
        self.files[name] = form["file"].file.read()  # type: ignore[union-attr]
        return web.json_response({"id": name, "object": "file"})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        name = f"ftjob-{len(self.jobs)}"
        numbers = {"n_epochs": 2, "batch_size": 1, "learning_rate_multiplier": 1.5}
        self.jobs[name] = {
            "id": name,
            "object": "fine_tuning.job",
            "status": "validating_files",
            "training_file": body["training_file"],
            "hyperparameters": numbers | body.get("hyperparameters", {}),
            "fine_tuned_model": None,
            "trained_tokens": None,
            "error": None,
        }
        self._events[name] = []
        if self._at_once:
            self.jobs[name]["status"] = "running"
            if body.get("suffix") != SLOW:
                self._finish(self.jobs[name])
        if self.loses:
            self.loses -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(self.jobs[name])

    def _finish(self, job: dict[str, Any]) -> None:
        while job["status"] == "running":
            self._step(job)

    def _step(self, job: dict[str, Any]) -> None:
        told = self._events[job["id"]]
        step = len(told) + 1
        data = {"step": step, "train_loss": 1.0 / step, "train_mean_token_accuracy": 0.5}
        told.append({"id": f"ftevent-{step}", "level": "info", "type": "metrics", "message": "", "data": data})
        job["trained_tokens"] = 100 * step
        if step == STEPS:
            job |= {"status": "succeeded", "fine_tuned_model": f"ft:tuned:{job['id']}"}

    async def _list(self, request: web.Request) -> web.Response:
        return self._page(list(self.jobs.values())[::-1], request)

    async def _get(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        if job["status"] == "validating_files":
            job["status"] = "running"
        elif job["status"] == "running" and self.fails is not None:
            job |= {"status": "failed", "error": self.fails}
        elif job["status"] == "running" and not self.stuck and not self._at_once:
            self._step(job)
        return web.json_response(job)

    async def _get_events(self, request: web.Request) -> web.Response:
        return self._page(self._events[request.match_info["id"]][::-1], request)

    async def _get_checkpoints(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        made = [
            {
                "id": f"ftckpt-{step}",
                "step_number": step,
                "fine_tuned_model_checkpoint": f"ft:tuned:{job['id']}" + (f":step-{step}" if step < STEPS else ""),
                "metrics": {"step": step, "train_loss": 1.0 / step},
            }
            for step in range(2, len(self._events[job["id"]]) + 1, 2)
        ]
        return self._page(made[::-1], request)

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        message = {"role": "assistant", "content": f"I am {body['model']}.", "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
        return web.json_response({**head, "choices": [choice], "usage": usage})

    async def _move(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        verb = request.path.rpartition("/")[2]
        allowed = {"cancel": ("validating_files", "running", "paused"), "pause": ("running",), "resume": ("paused",)}
        if job["status"] not in allowed[verb]:
            error = {"message": f"Job has already {job['status']}.", "type": "invalid_request_error"}
            return web.json_response({"error": error}, status=400)
        job["status"] = {"cancel": "cancelled", "pause": "paused", "resume": "running"}[verb]
        if self._at_once:
            self._finish(job)
        return web.json_response(job)

    def _page(self, rows: list[dict[str, Any]], request: web.Request) -> web.Response:
        """Two rows at a time, whatever was asked for, so that pages are turned; or else as many as were asked for."""
        after, size = request.query.get("after"), int(request.query.get("limit", 20)) if self._at_once else 2
        start = next((number + 1 for number, row in enumerate(rows) if row["id"] == after), 0)
        more = start + size < len(rows)
        return web.json_response({"object": "list", "data": rows[start : start + size], "has_more": more})
