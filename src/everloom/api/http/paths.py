"""Which route a path leads to, and whether the ids in it can be ids at all."""

from collections.abc import Iterable, Mapping

from everloom.api.http.routes import Route
from everloom.kit.errors import ApiError, BadRequest, NotFound
from everloom.requests.binding import nul_in

PREFIX = "/v1"


class Paths:
    """The routes as a tree of path segments: a lookup costs one step a segment, however many routes there are.

    Paths are found with ``/v1`` before them and without it (clients made for Azure leave it out).
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._tree: _Node = _Node()
        self._fixed: dict[str, _Node] = {}
        """By whole paths, with and without ``/v1``, those that have no parameters."""
        for route in routes:
            node = self._node(route.path)
            if route.method in node.routes:
                raise ValueError(f"two handlers for {route.method} {route.path}")
            node.routes[route.method] = route
            if "{" not in route.path and route.path != "/":
                self._fixed[route.path] = self._fixed[PREFIX + route.path] = node

    def _node(self, path: str) -> "_Node":
        """Where a route's path ends in the tree; beside it stands the root, which ``/v1`` alone is not."""
        if path == "/":
            return self._fixed.setdefault(path, _Node())
        node = self._tree
        for segment in path.strip("/").split("/"):
            node = node.child(segment)
        return node

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and its path parameters, or None."""
        node, params = self._walk(path)
        if node is None or method not in node.routes:
            return None
        return node.routes[method], params

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """As ``match``, raising the platform's 404 or 405 for what is not there."""
        node, params = self._walk(path)
        if node is None or not node.routes:
            raise NotFound(f"Invalid URL ({method} {path})" + _absent(path))
        if method not in node.routes:
            raise ApiError(
                405,
                f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
                code="method_not_supported",
                headers={"allow": ", ".join(sorted(node.routes))},
            )
        return node.routes[method], params

    def _walk(self, path: str) -> tuple["_Node | None", dict[str, str]]:
        if (fixed := self._fixed.get(path)) is not None:
            return fixed, {}
        params: dict[str, str] = {}
        node = self._tree
        for segment in path.removeprefix(PREFIX).strip("/").split("/"):
            following = node.children.get(segment)
            if following is None and segment and (following := node.wild) is not None:
                params[following.name] = segment
            if following is None:
                if node.name in _GREEDY and node is not self._tree:
                    params[node.name] += "/" + segment
                    continue
                return None, params
            node = following
        return node, params


_GREEDY = frozenset({"model", "rate_limit_id"})
"""Parameters whose values may hold slashes (``org/model``), which servers hand on decoded."""


class _Node:
    __slots__ = ("children", "name", "routes", "wild")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.children: dict[str, _Node] = {}
        self.wild: _Node | None = None
        self.routes: dict[str, Route] = {}

    def child(self, segment: str) -> "_Node":
        if segment.startswith("{"):
            name = segment.strip("{}")
            if self.wild is None:
                self.wild = _Node(name)
            elif self.wild.name != name:
                raise ValueError(f"{segment} and {{{self.wild.name}}} stand at one place of a path")
            return self.wild
        return self.children.setdefault(segment, _Node())


_ABSENT = (
    *("responses", "conversations", "realtime", "videos", "containers", "skills", "evals", "chatkit", "projects"),
    *("audio/voices", "audio/voice_consents", "content_provenance_checks", "fine_tuning/alpha"),
    *("fine_tuning/checkpoints", "organization/groups", "organization/roles", "organization/certificates"),
    "organization/data_retention",
)
"""What the platform has come to have since December 2024 and this server does not have, by the beginnings of paths."""


def _absent(path: str) -> str:
    """That a path is one of those, in words; else nothing."""
    asked = path.removeprefix(PREFIX).strip("/") + "/"
    names = (name for name in _ABSENT if asked.startswith(name + "/"))
    return next(
        (f": Everloom does not have {PREFIX}/{name} yet. /openapi.json tells what it has." for name in names), ""
    )


_LONGEST_ID = 128
_LONGEST_MODEL = 256


def check_ids(params: Mapping[str, str], prefixes: Mapping[str, str]) -> list[str]:
    """Refuse ids that cannot be ids, in the platform's words, before anything is looked up. The names of those that are
    of another make than this server's: ``prefixes`` say what each begins with, of those that come in one make.
    """
    foreign: list[str] = []
    for name, value in params.items():
        prefix = prefixes.get(name)
        if prefix is not None and not value.startswith(prefix):
            foreign.append(name)
        longest = _LONGEST_MODEL if name == "model" else _LONGEST_ID
        if len(value) > longest or not value.isprintable():
            if "\0" in value:
                raise nul_in(name)
            raise BadRequest(
                f"Invalid '{name}': string too long. Expected a string with maximum length {longest}, but got a "
                f"string with length {len(value)} instead.",
                param=name,
                code="string_above_max_length",
            )
    return foreign


def wrong_prefix(name: str, value: str, prefix: str) -> BadRequest:
    """What to say of an id that nothing has, and that nothing made here could have."""
    return BadRequest(
        f"Invalid '{name}': '{value}'. Expected an ID that begins with '{prefix.rstrip('_')}'.",
        param=name,
        code="invalid_value",
    )
