"""``file_search``: the model names what it looks for, the vector stores of assistant and thread are searched."""

from everloom.objects.base import JsonObject
from everloom.objects.steps import CallDelta, FileSearchDelta, FileSearchOutcome, FileSearchStepCall
from everloom.objects.tools import FileSearchTool
from everloom.tools.arguments import TextField

DESCRIPTION = (
    "Searches the files the user uploaded and gives back the passages that fit best, each with a mark such as "
    "【1:0†source】. Whatever the answer takes from a passage must be followed by that passage's mark, as it stands."
)


class SearchDraft:
    def __init__(self, id: str) -> None:
        self.id = id
        self._query = TextField("query")

    def begin(self, index: int) -> CallDelta:
        return FileSearchDelta(index=index, id=self.id)

    def grow(self, index: int, piece: str) -> CallDelta | None:
        self._query.feed(piece)
        return None

    def whole(self) -> FileSearchStepCall:
        return FileSearchStepCall(id=self.id, file_search=FileSearchOutcome())

    @property
    def arguments(self) -> str:
        return self._query.written


def query_of(arguments: str) -> str:
    """What a call to file search looks for."""
    field = TextField("query")
    field.feed(arguments)
    return field.value()


class FileSearch:
    type = "file_search"
    name: str | None = "file_search"

    def offer(self, tool: FileSearchTool) -> JsonObject:
        """A function of one text, the query."""
        parameters = {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "What to look for, in a sentence"}},
            "required": ["query"],
        }
        function = {"name": self.name, "description": DESCRIPTION, "parameters": parameters}
        return {"type": "function", "function": function}

    def draft(self, id: str, name: str) -> SearchDraft:
        return SearchDraft(id)
