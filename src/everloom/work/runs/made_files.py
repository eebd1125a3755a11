"""What code has made in a run since its last message, and how the next message brings it along.

As the platform did: a picture that the code showed is a block of the message, before its text; every file that the code
wrote is an attachment.
"""

from collections.abc import Sequence

from msgspec import Struct

from everloom.objects.messages import Attachment, Content, ImageFile, ImageFileContent
from everloom.objects.steps import CodeInterpreterStepCall, ImageOutput, RunStep, ToolCalls
from everloom.objects.tools import CodeInterpreterTool
from everloom.work.runs.citations import PATH
from everloom.work.runs.state import RunState


class MadeFiles(Struct, frozen=True, kw_only=True):
    """Ids of files, in the order in which they were made."""

    pictures: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def blocks(self) -> list[Content]:
        """The pictures as the message's first blocks."""
        return [ImageFileContent(image_file=ImageFile(file_id=file_id)) for file_id in self.pictures]

    @property
    def attachments(self) -> list[Attachment]:
        """The files as the message's attachments."""
        return [Attachment(file_id=file_id, tools=[CodeInterpreterTool()]) for file_id in self.files]


def made_since_last_message(state: RunState, *, but: Sequence[RunStep]) -> MadeFiles:
    """What a run's code made behind the last message that the run wrote; ``but`` are steps that are to be told anew."""
    recent: list[RunStep] = []
    for step in state.but(but):
        recent = [] if step.type == "message_creation" else [*recent, step]
    pictures = [
        output.image.file_id
        for step in recent
        if isinstance(step.step_details, ToolCalls)
        for call in step.step_details.tool_calls
        if isinstance(call, CodeInterpreterStepCall)
        for output in call.code_interpreter.outputs
        if isinstance(output, ImageOutput)
    ]
    ids = {step.id for step in recent}
    sources = [source for work in state.works if work.step_id in ids for source in work.sources]
    files = dict.fromkeys(source.file_id for source in sources if source.mark.startswith(PATH))
    return MadeFiles(pictures=tuple(pictures), files=tuple(files))
