"""From a request's method, path and beta header to the operation that answers it."""

from collections.abc import Awaitable, Iterable
from functools import lru_cache
from typing import Any

from everloom.api.http.paths import Paths
from everloom.api.http.routes import CURRENT_DIALECT, Dialect, Request, Route
from everloom.api.http.steps import Next
from everloom.kit.errors import BadRequest

NO_BETA = (
    "You must provide the 'OpenAI-Beta' header to access the Assistants API. Please try again by setting the header "
    "'OpenAI-Beta: assistants=v2'."
)


class Router:
    """Knows every operation of a server, and the dialects some of them are spoken in."""

    def __init__(self, routes: Iterable[Route], dialects: Iterable[Dialect] = ()) -> None:
        self._paths = Paths(routes)
        self._dialects = {
            name: found
            for found in [(dialect, Paths(dialect.routes)) for dialect in dialects]
            for name in (found[0].name, *found[0].other_names)
        }

    def find(self, request: Request, next: Next) -> Awaitable[Any]:
        """The step that finds a request's route, and its ids. Errors: 404, 405, 400 without a beta header."""
        request.route, request.arguments = self._find(request)
        return next(request)

    def _find(self, request: Request) -> tuple[Route, dict[str, Any]]:
        """A dialect's own route goes before the common one."""
        for name in _beta_words(request.headers.get(b"openai-beta", b"")):
            if name == CURRENT_DIALECT:
                break
            if name in self._dialects:
                request.dialect, paths = self._dialects[name]
                if (found := paths.match(request.method, request.path)) is not None:
                    return found
                break
        else:
            found = self._paths.find(request.method, request.path)
            if found[0].api_family == "assistants":
                raise BadRequest(NO_BETA, code="invalid_beta")
            return found
        return self._paths.find(request.method, request.path)


@lru_cache(maxsize=64)
def _beta_words(value: bytes) -> tuple[str, ...]:
    """The assistants' words of the beta header, which may list other betas too."""
    words = value.decode("latin-1").replace(";", ",").split(",")
    return tuple(word.strip() for word in words if word.strip().startswith("assistants="))
