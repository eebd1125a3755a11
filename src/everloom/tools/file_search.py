"""``file_search``: the model names what it looks for, the vector stores of assistant and thread are searched.

Each passage gets a mark to be cited by. A model that was not trained to call tools is given what a search on the
user's message found, and writes ``{"answer": …, "source": …}``, constrained so that ``source`` is one of those marks;
what the caller sees is the answer, followed by the mark that the model chose.
"""

from collections.abc import Sequence

from msgspec import UNSET

from everloom.context import Context
from everloom.objects.base import JsonObject, encode
from everloom.objects.chat import ChatChunk, ChatDelta
from everloom.objects.runs import Run, Source, ToolWork
from everloom.objects.steps import (
    CallDelta,
    FileSearchDelta,
    FileSearchOutcome,
    FileSearchResult,
    FileSearchStepCall,
    SearchText,
)
from everloom.objects.threads import Thread
from everloom.objects.tools import FileSearchTool, RankingOptions
from everloom.objects.vector_stores import SearchResult
from everloom.tools.arguments import TextField
from everloom.tools.base import BuiltInTool, Outcome, ToolExecution, ToolHost, function_of_text, last_question

DESCRIPTION = (
    "Searches the files the user uploaded and gives back the passages that fit best, each with a mark such as "
    "【1:0†source】. Whatever the answer takes from a passage must be followed by that passage's mark, as it stands."
)

RESULTS = 20
RESULTS_OF_SMALL_MODELS = 5
"""How many results a run gives its model where nothing else is said; the reference gave gpt-3.5 fewer."""

SHARE = 0.4
CHARACTERS_A_TOKEN = 3

QUOTE = 300
"""Characters of a passage that a citation quotes."""

_LONGEST_QUERY = 2000


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


class FileSearch(BuiltInTool):
    type = name = "file_search"
    opens_runs = True

    def offer(self, tool: FileSearchTool) -> JsonObject:
        """A function of one text, the query."""
        return function_of_text(self.name, DESCRIPTION, "query", "What to look for, in a sentence")

    def draft(self, id: str, name: str) -> SearchDraft:
        return SearchDraft(id)

    async def ready(self, host: ToolHost) -> None:
        """Wait for the thread's store and the assistant's own files, a minute at most. Errors: ``ApiError`` for a store
        that has expired.
        """
        thread = await host.thread()
        await host.wait_for_stores(thread, store_ids(host.run, thread))

    async def run(self, execution: ToolExecution) -> Outcome:
        """Search, and give the model as many of the passages as it can read."""
        run, call = execution.run, execution.call
        limit, threshold = _options(run)
        stores = store_ids(run, await execution.thread())
        found = await execution.search(stores, query_of(execution.arguments), limit=limit, score_threshold=threshold)
        passages, sources, results = [], [], []
        left = await _room(execution.ctx, run)
        for position, result in enumerate(found):
            text = "\n".join(block.text for block in result.content)
            text, left = text[: max(left, 0)], left - len(text)
            if not text:
                break
            mark = f"【{execution.ordinal}:{position}†source】"
            passages.append(f"{mark}\n{text}")
            sources.append(Source(mark=mark, file_id=result.file_id, quote=text[:QUOTE]))
            results.append(_result(result))
        ranking = RankingOptions(ranker="default_2024_08_21", score_threshold=threshold)
        outcome = FileSearchOutcome(ranking_options=ranking, results=results)
        output = "\n\n".join(passages) or "Nothing was found in the user's files."
        return Outcome(FileSearchStepCall(id=call.id, file_search=outcome), output, sources)

    def first_call(self, id: str, question: str) -> SearchDraft | None:
        """A search for what the user said."""
        if not (query := question[:_LONGEST_QUERY].strip()):
            return None
        draft = SearchDraft(id)
        draft.grow(0, encode({"query": query}).decode())
        return draft

    def show(
        self, body: JsonObject, messages: list[JsonObject], works: Sequence[ToolWork]
    ) -> "CitedAnswerReader | None":
        """Put what was found before the last question, and hold the answer to the form of one that cites.

        It is not held where the caller asked for a form of its own, where the model may call functions, or where
        nothing was found that could be cited.
        """
        if (question := last_question(messages)) is None:
            return None
        passages = "\n\n".join(work.output for work in works)
        text = f"Passages from the user's files:\n\n{passages}\n\nAnswer from these passages: {question}"
        messages[-1] = {"role": "user", "content": text}
        marks = list(dict.fromkeys(source.mark for work in works for source in work.sources))
        if not marks or "tools" in body or "response_format" in body:
            return None
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string"}, "source": {"type": "string", "enum": marks}},
            "required": ["answer", "source"],
            "additionalProperties": False,
        }
        form = {"name": "answer", "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
        return CitedAnswerReader()


class CitedAnswerReader:
    """Turns the chunks of ``{"answer": …, "source": …}`` into those of the answer with the mark behind it."""

    def __init__(self) -> None:
        self._answer = TextField("answer")
        self._written = ""
        self.done = False
        self.pieces = 0

    def take(self, chunk: ChatChunk) -> ChatChunk:
        """The chunk as the caller is to see it."""
        self.pieces += 1
        for choice in chunk.choices:
            if choice.delta.content:
                self._written += choice.delta.content
                choice.delta = ChatDelta(content=self._answer.feed(choice.delta.content) or None)
            if choice.finish_reason is not None:
                choice.delta = ChatDelta(content=(choice.delta.content or "") + _source(self._written) or None)
        return chunk


def _source(written: str) -> str:
    """The mark that stands behind ``source``, once the whole answer is there."""
    _, _, rest = written.rpartition('"source"')
    begin, end = rest.find("【"), rest.find("】")
    return rest[begin : end + 1] if 0 <= begin < end else ""


def store_ids(run: Run, thread: Thread) -> list[str]:
    """The vector stores that a run may search: its assistant's and its thread's."""
    ids: list[str] = []
    for resources in (run.tool_resources, thread.tool_resources):
        if resources.file_search:
            ids += resources.file_search.vector_store_ids
    return list(dict.fromkeys(ids))


def query_of(arguments: str) -> str:
    """What a call to file search looks for."""
    field = TextField("query")
    field.feed(arguments)
    return field.value()


async def _room(ctx: Context, run: Run) -> int:
    """How many characters of passages the model may be given: some four tenths of what it reads."""
    async with ctx.ask("chat", run.model) as model:
        return int((await model.traits()).context_window * CHARACTERS_A_TOKEN * SHARE)


def default_limit(model: str) -> int:
    """``max_num_results`` where a tool does not say it."""
    return RESULTS_OF_SMALL_MODELS if model.startswith("gpt-3.5") else RESULTS


def _options(run: Run) -> tuple[int, float]:
    """How many results the run's tool asks for, and of what score at least."""
    tool = next((tool for tool in run.tools if isinstance(tool, FileSearchTool)), FileSearchTool())
    options = tool.file_search
    limit = default_limit(run.model) if options.max_num_results is UNSET else options.max_num_results
    return limit, options.ranking_options.score_threshold


def _result(found: SearchResult) -> FileSearchResult:
    """A passage as the step shows it."""
    content = [SearchText(text=block.text) for block in found.content]
    return FileSearchResult(file_id=found.file_id, file_name=found.filename, score=found.score, content=content)
