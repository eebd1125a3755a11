"""What each operation costs on a database that has grown, beside the same on a small one.

``python -m benchmarks.growth --sizes 1000,100000``: so many threads, messages, runs, steps, files, assistants, files in
vector stores, batches, events, completions, users, keys and invites each; 0 is an empty project. What is asked for is
the same at every size, and stands in the middle. ``--only WORD`` measures the operations whose name has it.
One client, one request after the other, the sizes in turns; of each measurement's times the first quartile, since what
else the machine does only adds to them.
"""

import contextlib
import http.client
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from benchmarks.growth_seed import seed
from benchmarks.load import cpu_seconds, quantile
from benchmarks.measure import HEADERS, Program, everloom, folder, machine, median, note, options, upstream

ADMIN = ["authorization: Bearer sk-benchmark-admin-0123456789"]
GROWN = 1.5
"""What an operation may cost of its time on the smallest."""

LEAST_MS = 0.3
"""Less than this, one way or the other, is the clock's."""

_LOOK_SECONDS, _IDLE, _REST_SECONDS = 0.02, 0.05, 60.0
"""A server rests that takes no more than this share of a core in three looks one after the other; how long to wait."""

Ids = dict[str, str]


class Operation(NamedTuple):
    """``path`` and ``body`` have the names of ids in braces. ``before`` makes, unmeasured, what is to be changed: its
    own id is ``{it}``.
    """

    name: str
    method: str
    path: str
    body: dict[str, Any] | None = None
    before: "Operation | None" = None


class Times(NamedTuple):
    """Milliseconds: of each request, and of the server's CPU."""

    each: list[float]
    cpu: float


class Client:
    """One kept connection."""

    def __init__(self, server: Program, ids: Ids) -> None:
        parts = urlsplit(server.url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        self.pid = server.pid
        self.ids = ids

    def ask(self, operation: Operation, **ids: str) -> Any:
        """The answer's JSON. Anything but a success ends the benchmark."""
        names = self.ids | ids
        path = operation.path.format_map(names)
        lines = ADMIN if path.startswith("/organization") else HEADERS
        headers = dict(line.split(": ") for line in lines)
        body: bytes | None = None
        if operation.path == "/files" and operation.method == "POST":
            headers["content-type"] = "multipart/form-data; boundary=x"
            body = _FORM
        elif operation.body is not None:
            headers["content-type"] = "application/json"
            body = json.dumps(_filled(operation.body, names)).encode()
        self._connection.request(operation.method, f"/v1{path}", body, headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{operation.method} {path}: {answer.status} {data[:500]!r}")
        return json.loads(data)


_FORM = (
    b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.txt"\r\n\r\nwords\r\n--x--\r\n'
)


def _filled(body: Any, names: Ids) -> Any:
    if isinstance(body, dict):
        return {key: _filled(value, names) for key, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, names) for value in body]
    return body.format_map(names) if isinstance(body, str) else body


def _get(path: str) -> Operation:
    return Operation(f"GET {path}", "GET", path)


def _post(path: str, body: dict[str, Any] | None = None, before: Operation | None = None) -> Operation:
    return Operation(f"POST {path}", "POST", path, body, before)


def _delete(path: str, before: Operation) -> Operation:
    return Operation(f"DELETE {path}", "DELETE", path, None, before)


_ASSISTANT = _post("/assistants", {"model": "gpt-4o", "name": "one", "metadata": {"a": "b"}})
_HOLDER = {
    "model": "gpt-4o",
    "tools": [{"type": "code_interpreter"}],
    "tool_resources": {"code_interpreter": {"file_ids": ["{file}"]}},
}
_THREAD = _post("/threads", {"metadata": {"user": "somebody", "app": "x"}})
_MESSAGE = _post("/threads/{thread}/messages", {"role": "user", "content": "hello"})
_FILE = _post("/files")
_STORE = _post("/vector_stores", {"name": "one"})
_ACCOUNT = _post("/organization/projects/{project}/service_accounts", {"name": "a program"})
_INVITE = _post("/organization/invites", {"email": "{fresh}@example.org", "role": "reader"})
_BATCH = _post("/batches", {"input_file_id": "{file}", "endpoint": "/v1/chat/completions", "completion_window": "24h"})

READS = (
    *("/assistants", "/assistants?after={assistant}", "/assistants/{assistant}"),
    *("/threads", "/threads/{thread}", "/threads?metadata[user]=needle", "/threads?metadata[app]=x"),
    *("/threads?metadata[app]=x&metadata[user]=needle", "/threads?metadata[app]=y", "/threads/{thread}/messages"),
    *("/threads/{thread}/messages?run_id={run}", "/threads/{thread}/messages/{message}", "/threads/{thread}/runs"),
    *("/threads/{thread}/runs/{run}", "/threads/{thread}/runs/{run}/steps"),
    "/threads/{thread}/runs/{run}/steps/{step}",
    *("/files?limit=20", "/files?limit=20&purpose=batch", "/files/{file}", "/vector_stores", "/vector_stores/{store}"),
    *("/vector_stores/{store}/files", "/vector_stores/{store}/files?filter=failed"),
    *("/vector_stores/{store}/files?filter=cancelled", "/vector_stores/{store}/files/{file}"),
    *("/vector_stores/{store}/file_batches/{file_batch}", "/vector_stores/{store}/file_batches/{file_batch}/files"),
    "/vector_stores/{store}/file_batches/{file_batch}/files?filter=failed",
    *("/batches", "/batches?after={batch}", "/batches/{batch}"),
    *("/fine_tuning/jobs", "/fine_tuning/jobs?metadata[team]=needle", "/fine_tuning/jobs?metadata=null"),
    *("/fine_tuning/jobs/{job}", "/fine_tuning/jobs/{job}/events", "/fine_tuning/jobs/{job}/checkpoints"),
    *("/chat/completions", "/chat/completions?model=rare-model", "/chat/completions?metadata[user]=needle"),
    "/chat/completions?metadata[app]=x&metadata[user]=needle&model=gpt-4o",
    *("/chat/completions?metadata[app]=x&model=rare-model", "/chat/completions/{completion}"),
    *("/chat/completions/{completion}/messages", "/models"),
    *("/organization/users", "/organization/users?emails[]={email}", "/organization/users/{user}"),
    *("/organization/projects", "/organization/projects?include_archived=true", "/organization/projects/{project}"),
    *("/organization/projects/{project}/users", "/organization/projects/{project}/users/{user}"),
    *("/organization/projects/{project}/api_keys", "/organization/projects/{project}/api_keys/{key}"),
    "/organization/projects/{project}/service_accounts",
    "/organization/projects/{project}/service_accounts/{account}",
    *("/organization/projects/{project}/rate_limits", "/organization/invites", "/organization/invites/{invite}"),
    *("/organization/admin_api_keys", "/organization/audit_logs"),
)

WRITES: tuple[Operation, ...] = (
    _ASSISTANT,
    _post("/assistants", _HOLDER)._replace(name="POST /assistants, with a file"),
    _post("/assistants/{it}", {"name": "two"}, _ASSISTANT),
    _delete("/assistants/{it}", _ASSISTANT),
    _THREAD,
    _post("/threads", {})._replace(name="POST /threads, bare"),
    _post("/threads/{it}", {"metadata": {"user": "another"}}, _THREAD),
    _delete("/threads/{it}", _THREAD),
    _MESSAGE,
    _delete("/threads/{thread}/messages/{it}", _MESSAGE),
    _FILE,
    _delete("/files/{it}", _FILE),
    _STORE,
    _delete("/vector_stores/{it}", _STORE),
    _post("/vector_stores/{store}/files", {"file_id": "{it}"}, _FILE),
    _post("/vector_stores/{store}/file_batches", {"file_ids": ["{it}"]}, _FILE),
    _post("/vector_stores/{it}", {"metadata": {"a": "b"}}, _STORE),
    _BATCH,
    _post("/chat/completions/{completion}", {"metadata": {"user": "needle", "app": "x"}}),
    _post("/organization/projects", {"name": "another"}),
    _post("/organization/projects/{project}", {"name": "renamed"}),
    _post("/organization/users/{user}", {"role": "reader"}),
    _post("/organization/projects/{project}/users/{user}", {"role": "owner"}),
    _ACCOUNT,
    _delete("/organization/projects/{project}/service_accounts/{it}", _ACCOUNT),
    _INVITE,
    _delete("/organization/invites/{it}", _INVITE),
)


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(seconds=0.2)
    parser.add_argument("--sizes", default="1000,100000", help="things of each kind")
    parser.add_argument("--folder", type=Path, help="where the databases are made, left, and used again")
    parser.add_argument("--only", default="", help="measure the operations whose name has this word")
    chosen = parser.parse_args()
    operations = [one for one in (*map(_get, READS), *WRITES) if chosen.only in one.name]
    sizes = [int(size) for size in chosen.sizes.split(",")]
    with contextlib.nullcontext(chosen.folder) if chosen.folder else folder() as home:
        print(measure(home, sizes, operations, chosen.repetitions, chosen.seconds))
    print(f"\n{machine()}")


def measure(home: Path, sizes: list[int], operations: Sequence[Operation], repetitions: int, seconds: float) -> str:
    """The table."""
    with upstream(words=1) as model, contextlib.ExitStack() as servers:
        clients: dict[int, Client] = {}
        for size in sizes:
            ids = _seeded(home / str(size), size)
            clients[size] = Client(servers.enter_context(everloom(home / str(size), upstream=model.url)), ids)
        note("measuring")
        rows = [_row(one, _measured(one, clients, repetitions, seconds)) for one in operations]
    head = " | ".join(f"{size:,}: ms (CPU)" for size in sizes)
    return "\n".join([f"| operation | {head} | × time | × CPU |", "|---|" + "---|" * (len(sizes) + 2), *rows])


def _seeded(data: Path, size: int) -> Ids:
    known = data / "ids.json"
    if not known.exists():
        note(f"seeding {size:,}")
        ids = seed(data, size)
        known.write_text(json.dumps(ids))
    found: Ids = json.loads(known.read_text())
    return found


def _measured(
    operation: Operation, clients: dict[int, Client], repetitions: int, seconds: float
) -> dict[int, list[Times]]:
    results: dict[int, list[Times]] = {size: [] for size in clients}
    for _ in range(repetitions):
        for size, client in clients.items():
            results[size].append(_timed(operation, client, seconds))
    return results


def _timed(operation: Operation, client: Client, seconds: float) -> Times:
    """As often as there is time for, three times at least; what comes before is not counted."""
    _let_rest(client.pid)
    each: list[float] = []
    cpu = 0.0
    until = time.perf_counter() + seconds
    while len(each) < 3 or time.perf_counter() < until:
        ids = _fresh()
        if operation.before is not None:
            ids["it"] = client.ask(operation.before, **ids)["id"]
        used, began = cpu_seconds(client.pid), time.perf_counter()
        client.ask(operation, **ids)
        each.append((time.perf_counter() - began) * 1000)
        cpu += cpu_seconds(client.pid) - used
    return Times(each, cpu / len(each) * 1000)


def _let_rest(pid: int) -> None:
    """Wait for the jobs that were started, the reading of files say, by what was measured before."""
    idle, until = 0, time.monotonic() + _REST_SECONDS
    while idle < 3 and time.monotonic() < until:
        used = cpu_seconds(pid)
        time.sleep(_LOOK_SECONDS)
        idle = idle + 1 if cpu_seconds(pid) - used < _IDLE * _LOOK_SECONDS else 0


_number = 0


def _fresh() -> Ids:
    global _number
    _number += 1
    return {"fresh": f"somebody{_number}"}


def _row(operation: Operation, results: dict[int, list[Times]]) -> str:
    times = [median(quantile(sorted(one.each), 0.25) for one in some) for some in results.values()]
    cpu = [median(one.cpu for one in some) for some in results.values()]
    cells = " | ".join(f"{time:.2f} ({used:.2f})" for time, used in zip(times, cpu, strict=True))
    return f"| {operation.name} | {cells} | {_grown(times)} | {_grown(cpu)} |"


def _grown(values: list[float]) -> str:
    """The last over the first."""
    first, last = values[0], values[-1]
    shown = f"{last / first:.2f}"
    return shown if last <= GROWN * first or last - first < LEAST_MS else f"**{shown}**"


if __name__ == "__main__":
    main()
