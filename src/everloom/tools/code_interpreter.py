"""``code_interpreter``: the model writes Python, the thread's sandbox runs it; plots and files become the project's.

A model that was not trained to call tools writes its code into a fence: the first fenced block of its answer is run,
and the model is asked again, with what that printed behind the question.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import PurePosixPath

from msgspec import UNSET

from everloom.blobs.base import DamagedBlob
from everloom.kit.ids import new_id
from everloom.objects.base import JsonObject, encode
from everloom.objects.chat import ChatChunk, ChatDelta, FunctionChunk, ToolCallChunk
from everloom.objects.files import File
from everloom.objects.runs import Source, ToolWork
from everloom.objects.steps import (
    CallDelta,
    CodeInterpreterDelta,
    CodeInterpreterOutcome,
    CodeInterpreterStepCall,
    CodePiece,
    ImageDelta,
    ImageOutput,
    ImageReference,
    Logs,
    LogsDelta,
)
from everloom.objects.tools import CodeInterpreterTool
from everloom.sandbox.base import Picture, Printed, SandboxDied, SandboxFull, Session
from everloom.tools.arguments import TextField
from everloom.tools.base import (
    BuiltInTool,
    Outcome,
    ToolExecution,
    ToolFailure,
    ToolHost,
    add_instruction,
    function_of_text,
    last_question,
)

DESCRIPTION = (
    "Runs Python code in a Jupyter notebook that keeps its state between calls, and shows what it prints and plots. "
    "Files the user attached are in /mnt/data; save files for the user there, and name them in the answer as "
    "sandbox:/mnt/data/NAME. There is no network."
)

MODEL_READS = 12_000
"""Characters of output that the model gets to read; the caller sees all of it in the step."""

RAN_AGAIN = "[The server was restarted while this code was running. It is run again from its beginning.]\n"


class CodeDraft:
    def __init__(self, id: str) -> None:
        self.id = id
        self._code = TextField("code")

    def begin(self, index: int) -> CallDelta:
        return CodeInterpreterDelta(index=index, id=self.id, code_interpreter=CodePiece(input="", outputs=[]))

    def grow(self, index: int, piece: str) -> CallDelta | None:
        if not (code := self._code.feed(piece)):
            return None
        return CodeInterpreterDelta(index=index, id=UNSET, code_interpreter=CodePiece(input=code))

    def whole(self) -> CodeInterpreterStepCall:
        return CodeInterpreterStepCall(id=self.id, code_interpreter=CodeInterpreterOutcome(input=self._code.value()))

    @property
    def arguments(self) -> str:
        return self._code.written


class CodeInterpreter(BuiltInTool):
    type = name = "code_interpreter"

    def offer(self, tool: CodeInterpreterTool) -> JsonObject:
        """A function of one text, the code."""
        return function_of_text(self.name, DESCRIPTION, "code", "The Python code to run")

    def draft(self, id: str, name: str) -> CodeDraft:
        return CodeDraft(id)

    async def ready(self, host: ToolHost) -> None:
        """Ask that code can be run here."""
        if (reason := host.ctx.ports.sandboxes.available()) is not None:
            raise ToolFailure(f"The tool 'code_interpreter' is not available on this server: {reason}")

    async def run(self, execution: ToolExecution) -> Outcome:
        """Run one call's code. Outputs are told as they come; what the code made is kept with the call's end."""
        await self.ready(execution)
        call = execution.call
        assert isinstance(call, CodeInterpreterStepCall)
        show = _Show(execution, call)
        if execution.again:
            show.logs(RAN_AGAIN)
        async with execution.sandbox() as session:
            await _bring_files(execution, session, show)
            try:
                code, seconds = call.code_interpreter.input, execution.seconds_left()
                async with aclosing(session.run(code, timeout=seconds)) as outputs:
                    async for output in outputs:
                        await show.take(output)
            except SandboxDied as died:
                show.logs(f"{died}\n")
            made = await _keep_files(execution, session)
        return Outcome(call, _for_model(show.text, made), made)

    def show(self, body: JsonObject, messages: list[JsonObject], works: Sequence[ToolWork]) -> None:
        """Put what code has printed behind the last question."""
        if (question := last_question(messages)) is not None:
            printed = "\n\n".join(work.output for work in works)
            text = f"{question}\n\nThe code has been run. Its output:\n{printed}"
            messages[-1] = {"role": "user", "content": text}

    def invite(self, messages: list[JsonObject], *, forced: bool) -> "CodeFenceReader":
        """Look out for a fence; say in front and behind the last question that one is wanted, where the caller forces
        the tool: told behind it alone, the model in the box wrote programs of its own, without an end.
        """
        if forced and (question := last_question(messages)) is not None:
            messages[-1] = {"role": "user", "content": f"{question}\n\nAnswer with a ```python block."}
            add_instruction(messages, "You answer with Python code.")
        return CodeFenceReader()


class _Show:
    """The outputs of a call, gathered and told."""

    def __init__(self, execution: ToolExecution, call: CodeInterpreterStepCall) -> None:
        self._execution = execution
        self._outputs = call.code_interpreter.outputs = []
        self.text = ""

    async def take(self, output: Picture | Printed) -> None:
        """One more output of the kernel."""
        if isinstance(output, Picture):
            self._image(await self._execution.keep_file(f"{new_id('image-')}.png", _once(output.png)))
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
        self._execution.tell(CodeInterpreterDelta(index=self._execution.index, code_interpreter=piece))


async def _bring_files(execution: ToolExecution, session: Session, show: _Show) -> None:
    """Put what is attached to run and thread where the code finds it, under its own name."""
    ctx, run = execution.ctx, execution.run
    thread = await execution.thread()
    ids: list[str] = []
    for resources in (run.tool_resources, thread.tool_resources):
        if resources.code_interpreter:
            ids += resources.code_interpreter.file_ids
    files = await ctx.store.all(File, id=list(dict.fromkeys(ids))) if ids else []
    for file in files:
        if session.has(file.id):
            continue
        try:
            await session.put(file.filename, execution.read_file(file), file.id)
        except SandboxFull as full:
            show.logs(f"[{file.filename} was left out: {full}]\n")
        except FileNotFoundError:
            show.logs(f"[{file.filename} was left out: it was deleted]\n")
        except DamagedBlob as damage:
            show.logs(f"[{file.filename} was left out: {damage}]\n")


async def _keep_files(execution: ToolExecution, session: Session) -> list[Source]:
    """Keep what the code wrote or changed; the paths by which the model may name them, with their files."""
    made = []
    for written in await session.changed():
        file = await execution.keep_file(PurePosixPath(written.name).name, session.read(written.path))
        made.append(Source(mark=f"sandbox:{written.path}", file_id=file.id))
    return made


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _for_model(text: str, made: Sequence[Source]) -> str:
    if len(text) > MODEL_READS:
        left_out = f"[… {len(text) - MODEL_READS} characters left out …]"
        text = f"{text[: MODEL_READS // 2]}\n{left_out}\n{text[-MODEL_READS // 2 :]}"
    files = f"\n[files written: {', '.join(source.mark for source in made)}]" if made else ""
    return (text or "[no output]") + files


_FENCE = "```"
_CODE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)\n?```", re.DOTALL)


class CodeFenceReader:
    """Turns the first fenced block of an answer into a call to the code interpreter; then it is ``done``."""

    def __init__(self) -> None:
        self._text = ""
        self._shown = 0
        self.done = False
        self.pieces = 0

    def take(self, chunk: ChatChunk) -> ChatChunk:
        """The chunk as the caller is to see it: words before the fence as they come, then the call."""
        self.pieces += 1
        for choice in chunk.choices:
            self._text += choice.delta.content or ""
            code = _CODE.search(self._text)
            if code is not None and not self.done:
                self.done = True
                arguments = encode({"code": code[1]}).decode()
                call = ToolCallChunk(function=FunctionChunk(name=CodeInterpreter.name, arguments=arguments))
                choice.delta = ChatDelta(content=self._until(code.start()), tool_calls=[call])
                choice.finish_reason = "tool_calls"
            else:
                ended = choice.finish_reason is not None
                choice.delta = ChatDelta(content=self._until(len(self._text) if ended else self._safe()))
        return chunk

    def _safe(self) -> int:
        """How far the text can be shown: up to a fence, or what may become one."""
        fence = self._text.find(_FENCE)
        return fence if fence >= 0 else len(self._text.rstrip("`"))

    def _until(self, end: int) -> str | None:
        piece, self._shown = self._text[self._shown : end], max(self._shown, end)
        return piece or None
