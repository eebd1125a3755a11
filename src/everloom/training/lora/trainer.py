"""LoRA on GGUF models of this machine, each training in a child process of its own.

Nothing heavy is imported here: torch lives in the children, and may live in an environment of their own.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from everloom.kit.errors import BadRequest, ModelAway, ModelFailure
from everloom.kit.outages import disk_is_away
from everloom.models.llama.request import TemplateFeatures
from everloom.models.llama.sampling import default_system
from everloom.models.memory_budget import available
from everloom.models.subprocesses.process import ChildLost, ChildProcess, bare_environment
from everloom.objects.base import encode
from everloom.training import base
from everloom.training.base import Artifact, Method, TrainingEvent, TrainingFailed, TrainingTask
from everloom.training.lora import messages as told
from everloom.training.lora.examples import prepare
from everloom.training.lora.gguf_model import TRAINABLE, GgufModel, read_model
from everloom.training.lora.plan import memory_need
from everloom.training.lora.tokens import UnknownTokenizer, check_tokenizer

CONTEXT = 2048
"""Tokens of the longest example, where the settings say nothing."""

SAVE_S = 60.0
SAVE_STEPS = 500
SHARE = 0.9
"""Of the memory that is free, where the settings do not say how much training may have."""

_STALL_S = 1800.0
_OPEN_S = 300.0
_LOOK_S = 60.0
_FRAME_BYTES = 1 << 16
_CACHE = "inductor"  # as child.py names it
_CHILD = Path(__file__).with_name("child.py")
_NEEDED = ("torch", "transformers", "peft", "gguf", "tokenizers", "jinja2")
_LOOK = "import importlib.util as u, sys; print(','.join(n for n in sys.argv[1:] if u.find_spec(n) is None))"

PathOf = Callable[[str], Awaitable[Path]]


class LoraTrainer:
    """Trains the models called ``names``, whose files ``path_of`` finds.

    ``python``: an interpreter in whose environment the extra ``finetune`` is installed. ``memory``: bytes that a
    training may have; None: of what is free when it begins. ``threads``: 0 for torch's own choice. ``context``: tokens
    of the longest example; what is longer loses its end. A state is saved after ``save_s`` seconds or ``save_steps``.
    """

    def __init__(
        self,
        names: Collection[str],
        path_of: PathOf,
        *,
        python: str = sys.executable,
        memory: int | None = None,
        threads: int = 0,
        context: int = CONTEXT,
        save_s: float = SAVE_S,
        save_steps: int = SAVE_STEPS,
    ) -> None:
        self._names = names
        self._path_of = path_of
        self._python = python
        self._memory = memory
        self._order = {"threads": threads, "context": context, "save_s": save_s, "save_steps": save_steps}
        self._complete = False

    @property
    def works_here(self) -> bool:
        return True

    def trains(self, model: str) -> bool:
        """Whether it is one of this machine's."""
        return model in self._names

    async def check(self, model: str, method: Method) -> None:
        """Errors: ``BadRequest`` where the extra is missing, or the model is none that can be trained."""
        await self._check_python()
        await self.open_model(model)

    async def open_model(self, model: str) -> GgufModel:
        """What its file says of it. Errors: ``BadRequest``; ``ModelFailure`` while its weights cannot be had."""
        path = await self._path_of(model)
        try:
            found = await asyncio.to_thread(read_model, path)
            shape = found.shape()
        except (OSError, ValueError) as error:
            raise _untrainable(model, str(error)) from error
        if shape.embeds:
            raise _untrainable(model, "it makes embeddings, and does not write")
        if shape.architecture not in TRAINABLE or shape.experts:
            kind = shape.architecture + (" with experts" if shape.experts else "")
            raise _untrainable(model, f"models of its architecture ({kind}) are not among those that can: {TRAINABLE}")
        if str(found.key("rope.scaling.type", "none")) != "none":
            raise _untrainable(model, "its positions are scaled in a way that is not known to the trainer")
        try:
            check_tokenizer(found)
        except UnknownTokenizer as error:
            raise _untrainable(model, str(error)) from error
        return found

    def train(self, task: TrainingTask) -> "LoraRun":
        """Nothing begins before its events are asked for."""
        return LoraRun(self, task, self._python, self._order, self._memory)

    async def _check_python(self) -> None:
        if self._complete:
            return
        try:
            missing = await missing_packages(self._python)
        except OSError as error:
            text = f"The Python that fine-tuning is to run in (setting finetune_python) cannot be started: {error}"
            raise BadRequest(text, param="model", code="fine_tuning_unavailable") from error
        except TimeoutError as error:
            raise ModelFailure("The Python that fine-tuning is to run in does not answer.", status=503) from error
        if missing:
            text = (
                "This server cannot fine-tune models of its own machine: its operator has to install the extra for it "
                f"(pip install 'everloom[finetune]'; missing: {missing})."
            )
            raise BadRequest(text, param="model", code="fine_tuning_unavailable")
        self._complete = True


async def missing_packages(python: str) -> str:
    """What an interpreter lacks of what training needs, in a line; empty where nothing is. Errors: ``OSError``,
    ``TimeoutError``.
    """
    command = (python, "-P", "-c", _LOOK, *_NEEDED)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env=_plain_environment()
    )
    try:
        async with asyncio.timeout(_LOOK_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    missing = said.decode("utf-8", "replace").strip()[:200]
    return missing or ("a Python that works" if process.returncode else "")


def _plain_environment() -> dict[str, str]:
    environment = bare_environment()
    del environment["PYTHONPATH"]  # another Python's packages may lie where ours do
    return environment


def _untrainable(model: str, why: str) -> BadRequest:
    return BadRequest(f"The model `{model}` cannot be fine-tuned: {why}.", param="model", code="model_not_available")


class LoraRun:
    """A training in its child process."""

    def __init__(
        self, trainer: LoraTrainer, task: TrainingTask, python: str, order: dict[str, Any], memory: int | None
    ) -> None:
        self._trainer = trainer
        self._task = task
        self._order = order
        self._memory = memory
        self._child: ChildProcess[told.ChildMessage] = ChildProcess(
            (python, "-P", str(_CHILD)), told.decode_message, load_s=_OPEN_S, longest=_FRAME_BYTES
        )
        self._pausing = self._closed = False
        self._begun = False
        self._step = self._total = 0
        self._last: Path | None = None
        """The state that was told last."""

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._child.pid

    async def events(self) -> AsyncGenerator[TrainingEvent, None]:
        """See ``TrainingRun``."""
        try:
            await self._start()
            ended = False
            while not ended:
                event = await self._next()
                ended = isinstance(event, base.Finished | base.Paused)
                if event is not None:
                    yield event
                if isinstance(event, base.Saved):
                    self._taken(event)
        except ChildLost as error:
            raise self._away(f"its process {error}") from error
        except OSError as error:
            if not disk_is_away(error):
                raise TrainingFailed(f"Training cannot be started: {error}") from error
            raise self._away(str(error)) from error
        finally:
            await self.close()

    def pause(self) -> None:
        """See ``TrainingRun``."""
        self._pausing = True
        if self._begun:
            self._child.send(encode({"type": "pause"}))

    async def cancel(self) -> None:
        """See ``TrainingRun``."""
        await self.close()

    async def close(self) -> None:
        """End the child and whatever it started, and sweep what it had half written."""
        self._closed = True
        if (pid := self._child.pid) is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        await self._child.end(at_once=True)
        await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        for file in (*self._task.folder.glob("*.partial"), *self._task.folder.glob("prepared-*")):
            file.unlink(missing_ok=True)
        shutil.rmtree(self._task.folder / _CACHE, ignore_errors=True)

    async def _start(self) -> None:
        task = self._task
        try:
            model = await self._trainer.open_model(task.base)
        except BadRequest as error:
            raise TrainingFailed(error.message, code=error.code or "training_failed", param=error.param) from error
        need = memory_need(model.shape(), 4)
        memory = await asyncio.to_thread(self._memory_of)
        await asyncio.to_thread(task.folder.mkdir, parents=True, exist_ok=True)
        self._refuse_too_large(task.base, need.of(1, sparing=True), memory)
        if self._closed:
            raise self._away("it was ended")
        first = {"type": "open", "gguf": str(model.path), "threads": self._order["threads"]}
        opened = await self._child.ready(encode(first))
        if not isinstance(opened, told.ChildOpened):
            raise self._ending(opened)
        system = default_system(model.general())
        features = TemplateFeatures(knows_tools=opened.knows_tools, marks_calls=opened.marks_calls, system=system)
        training = await self._prepared(task.training, "training", features)
        validation = await self._prepared(task.validation, "validation", features) if task.validation else ""
        order = self._order | {"type": "go", "training": training, "validation": validation, "memory": memory}
        order |= {"context": min(self._order["context"], model.shape().context), "name": task.suffix or task.job_id}
        order |= {name: getattr(task, name) for name in ("method", "n_epochs", "batch_size", "beta", "seed")}
        order |= {"learning_rate_multiplier": task.learning_rate_multiplier, "folder": str(task.folder.absolute())}
        order["state"] = str(task.state.absolute()) if task.state else ""
        self._last = task.state
        self._child.send(encode(order))
        self._begun = True
        if self._pausing:
            self.pause()

    def _memory_of(self) -> int:
        free = available()
        if self._memory:
            return min(self._memory, free) if free else self._memory
        return int(free * SHARE)

    def _refuse_too_large(self, model: str, least: int, memory: int) -> None:
        if least > memory:
            raise TrainingFailed(
                f"Training {model} takes at least {least / 1e9:.2f} GB of memory, and {memory / 1e9:.2f} GB are free. "
                "Free some, choose a smaller model, or let training have more (setting finetune_memory).",
                code="insufficient_memory",
            )

    async def _prepared(self, source: Path, which: str, features: TemplateFeatures) -> str:
        target = self._task.folder.absolute() / f"prepared-{which}.jsonl"
        await asyncio.to_thread(prepare, source, target, self._task.method, features, f"{which}_file")
        return str(target)

    async def _next(self) -> TrainingEvent | None:
        """What the child says next, as an event; None where it only lives."""
        said = await self._child.hear(told.decode_message, _STALL_S)
        match said:
            case told.ChildAlive():
                return None
            case told.ChildBegan():
                self._step, self._total = said.step, said.total_steps
                return base.Began(**{name: getattr(said, name) for name in said.__struct_fields__})
            case told.ChildStepped():
                self._step = said.metrics.step
                return base.Stepped(metrics=said.metrics, trained_tokens=said.trained_tokens, seconds=said.seconds)
            case told.ChildSaved():
                return base.Saved(step=said.step, state=await self._file(said.state))
            case told.ChildCheckpoint():
                artifact = Artifact(path=await self._file(said.adapter))
                return base.CheckpointMade(
                    metrics=said.metrics, artifact=artifact, last=said.metrics.step == self._total
                )
            case told.ChildWarned():
                return base.Warned(message=said.message)
            case told.ChildFinished():
                artifact = Artifact(path=await self._file(said.adapter))
                return base.Finished(trained_tokens=said.trained_tokens, artifact=artifact)
            case told.ChildPaused():
                return base.Paused()
        raise self._ending(said)

    def _ending(self, said: told.ChildMessage) -> Exception:
        """The error that a child's last words are."""
        if isinstance(said, told.ChildFailed):
            return TrainingFailed(said.message, code=said.code, param=said.param)
        if isinstance(said, told.ChildAway):
            return self._away(said.message)
        return ChildLost("said what was not its turn to say")

    async def _file(self, name: str) -> Path:
        """A file that the child has written. Errors: ``ChildLost`` where there is no such file, or an absurd one."""
        path = self._task.folder.absolute() / name
        if not await asyncio.to_thread(lambda: path.is_file() and not path.is_symlink()):
            raise ChildLost("named a file that is not there")
        return path

    def _taken(self, event: base.Saved) -> None:
        """Whoever asks for what comes next has the state; the one before it is of no use any more."""
        last, self._last = self._last, event.state
        if last is not None and last != event.state and last.parent == event.state.parent:
            last.unlink(missing_ok=True)
        self._child.send(encode({"type": "taken"}))

    def _away(self, why: str) -> ModelAway:
        text = (
            f"Training of {self._task.base} stopped behind step {self._step} ({why}). It goes on from its last state."
        )
        return ModelAway(text, reached=True)
