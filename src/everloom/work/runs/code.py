"""``code_interpreter`` at work: a thread's kernel runs the code; its plots and files become files of the project."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import PurePosixPath

from everloom.context import Context
from everloom.kit.clock import now
from everloom.kit.ids import new_id
from everloom.objects.files import File
from everloom.objects.runs import Source
from everloom.objects.steps import (
    CodeInterpreterDelta,
    CodeInterpreterStepCall,
    CodePiece,
    ImageDelta,
    ImageOutput,
    ImageReference,
    Logs,
    LogsDelta,
)
from everloom.objects.threads import Thread
from everloom.sandbox.base import Picture, Printed, SandboxDied, SandboxFull, Session
from everloom.store.base import Add
from everloom.work.files.blobs import NewBlob
from everloom.work.runs.tool_execution import Performance, ToolFailure

MODEL_READS = 12_000
"""Characters of output that the model gets to read; the caller sees all of it in the step."""

RAN_AGAIN = "[The server was restarted while this code was running. It is run again from its beginning.]\n"


def check_sandboxes(ctx: Context) -> None:
    """Ask that code can be run here. Errors: ``ToolFailure``."""
    if (reason := ctx.ports.sandboxes.available()) is not None:
        raise ToolFailure(f"The tool 'code_interpreter' is not available on this server: {reason}")


async def run_code(performance: Performance) -> None:
    """Run one call's code. Outputs are told as they come; what the code made is kept with the call's end."""
    ctx, run = performance.ctx, performance.run
    check_sandboxes(ctx)
    call = performance.call
    assert isinstance(call, CodeInterpreterStepCall)
    show = _Show(performance, call)
    if performance.again:
        show.logs(RAN_AGAIN)
    async with ctx.ports.sandboxes.session((ctx.project, run.thread_id)) as session:
        await _bring_files(performance, session, show)
        # The sandbox's own limit of a call holds beside what is left of the run.
        seconds = math.inf if run.expires_at is None else max(1.0, run.expires_at - time.time())
        try:
            async with aclosing(session.run(call.code_interpreter.input, timeout=seconds)) as outputs:
                async for output in outputs:
                    await show.take(output)
        except SandboxDied as died:
            show.logs(f"{died}\n")
        made = await _keep_files(performance, session)
    performance.output = _for_model(show.text, made)


class _Show:
    """The outputs of a call, gathered and told."""

    def __init__(self, performance: Performance, call: CodeInterpreterStepCall) -> None:
        self._performance = performance
        self._outputs = call.code_interpreter.outputs = []
        self.text = ""

    async def take(self, output: Picture | Printed) -> None:
        """One more output of the kernel."""
        if isinstance(output, Picture):
            self._image(await _file(self._performance, f"{new_id('image-')}.png", _once(output.png)))
        else:
            self.logs(output.text)

    def logs(self, text: str) -> None:
        """More text; it goes on where the last text ended."""
        self.text += text
        if self._outputs and isinstance(last := self._outputs[-1], Logs):
            last.logs += text
        else:
            self._outputs.append(Logs(logs=text))
        self._tell(LogsDelta(index=len(self._outputs) - 1, logs=text))

    def _image(self, file: File) -> None:
        self.text += f"[image {file.id}]\n"
        self._outputs.append(ImageOutput(image=ImageReference(file_id=file.id)))
        self._tell(ImageDelta(index=len(self._outputs) - 1, image=ImageReference(file_id=file.id)))

    def _tell(self, output: LogsDelta | ImageDelta) -> None:
        piece = CodePiece(outputs=[output])
        self._performance.tell(CodeInterpreterDelta(index=self._performance.index, code_interpreter=piece))


async def _bring_files(performance: Performance, session: Session, show: _Show) -> None:
    """Put what is attached to run and thread where the code finds it, under its own name."""
    ctx, run = performance.ctx, performance.run
    thread = await ctx.store.get(Thread, run.thread_id)
    ids: list[str] = []
    for resources in (run.tool_resources, thread.tool_resources):
        if resources.code_interpreter:
            ids += resources.code_interpreter.file_ids
    files = await ctx.store.all(File, id=list(dict.fromkeys(ids))) if ids else []
    for file in files:
        if session.has(file.id):
            continue
        try:
            await session.put(file.filename, ctx.ports.blobs.read(file.id), file.id)
        except SandboxFull as full:
            show.logs(f"[{file.filename} was left out: {full}]\n")


async def _keep_files(performance: Performance, session: Session) -> list[str]:
    """Keep what the code wrote or changed; the paths by which the model may name them."""
    paths = []
    for made in await session.changed():
        file = await _file(performance, made.name, session.read(made.path))
        path = f"sandbox:{made.path}"
        performance.sources.append(Source(mark=path, file_id=file.id))
        paths.append(path)
    return paths


async def _file(performance: Performance, name: str, blocks: AsyncIterator[bytes]) -> File:
    """A file that code made, kept before anybody is told of it."""
    async with NewBlob(performance.ctx, new_id("file-")) as blob:
        size = await blob.put(blocks)
        filename = PurePosixPath(name).name
        file = File(id=blob.id, created_at=now(), bytes=size, filename=filename, purpose="assistants_output")
        await blob.keep(Add(file))
    return file


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _for_model(text: str, made: list[str]) -> str:
    if len(text) > MODEL_READS:
        left_out = f"[… {len(text) - MODEL_READS} characters left out …]"
        text = f"{text[: MODEL_READS // 2]}\n{left_out}\n{text[-MODEL_READS // 2 :]}"
    files = f"\n[files written: {', '.join(made)}]" if made else ""
    return (text or "[no output]") + files
