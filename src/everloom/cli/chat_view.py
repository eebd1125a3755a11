"""What is seen of a run in ``everloom chat``: the answer on standard output, all the rest on standard error."""

from everloom.cli.client import Client, Json
from everloom.cli.display import Display

_QUOTED = 160
"""Characters of a cited passage that a footnote quotes."""

_DOES = {"file_search": "searches its files", "code_interpreter": "runs code", "function": "calls a function"}


class ChatView:
    """Shows runs as they happen. ``chatty``: what a run does before it answers is told, too."""

    def __init__(self, *, chatty: bool) -> None:
        self.answers = Display()
        self.notes = Display(error=True)
        self._chatty = chatty
        self._marks: dict[str, Json] = {}
        self._doing = ""

    async def show(self, client: Client, thing: Json) -> None:
        """Show what a run tells."""
        match thing.get("object"):
            case "thread.message.delta":
                for part in thing["delta"].get("content", []):
                    self._show_part(part)
            case "thread.message" if thing["status"] == "in_progress":
                self.answers.end()  # It may be told anew.
                self._marks = {}
            case "thread.message":
                self.answers.end()
                await self._show_footnotes(client)
            case "thread.run.step.delta":
                for call in thing["delta"]["step_details"]["tool_calls"]:
                    self._show_call(call)
            case "thread.run":
                self._show_run(thing)

    def note(self, what: str, style: str = "dim") -> None:
        """Say something beside the answers."""
        self.answers.end()
        self.notes.line(what, style)

    def _show_part(self, part: Json) -> None:
        text = part.get("text") or {}
        value = text.get("value") or part.get("refusal") or ""
        for mark in text.get("annotations") or ():
            self._marks.setdefault(mark["text"], mark)
            value = value.replace(mark["text"], f"[{list(self._marks).index(mark['text']) + 1}]")
        self.answers.piece(value, "cyan")
        if (image := part.get("image_file")) is not None:
            self.note(f"[a picture: file {image['file_id']}]")

    async def _show_footnotes(self, client: Client) -> None:
        for number, mark in enumerate(self._marks.values(), start=1):
            cited = mark.get("file_citation") or mark.get("file_path") or {}
            name = (await client.get(f"/files/{cited['file_id']}"))["filename"]
            quote = " ".join(cited.get("quote", "").split())
            shown = f": {quote[:_QUOTED]}{'…' if len(quote) > _QUOTED else ''}" if quote else f" ({cited['file_id']})"
            self.answers.line(f"[{number}] {name}{shown}", "dim")
        self._marks = {}

    def _show_call(self, call: Json) -> None:
        if self._chatty and call.get("id", self._doing) != self._doing:
            self._doing = call["id"]
            self.note(f"({_DOES.get(call['type'], call['type'])})")
        code = call.get("code_interpreter") or {}
        if self._chatty and code.get("input"):
            self.notes.piece(code["input"], "dim")
        for output in code.get("outputs") or () if self._chatty else ():
            self.notes.line(output.get("logs", ""), "dim")

    def _show_run(self, run: Json) -> None:
        if run["status"] in ("completed", "failed", "incomplete", "expired", "cancelled", "requires_action"):
            self.answers.end()
            self.notes.end()
        if run["last_error"]:
            self.note(run["last_error"]["message"], "red")
        elif run["status"] == "incomplete":
            why = (run.get("incomplete_details") or {}).get("reason", "it did not come to its end")
            self.note(f"(the answer breaks off: {why})", "yellow")
        elif run["status"] in ("cancelled", "expired"):
            self.note(f"({run['status']})", "yellow")
