"""The settings' ``[[models]]`` tables: who answers for which model name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from everloom.objects.model_names import WILDCARDS


class ModelEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[models]]`` table: who answers for ``id``, which is a name or a pattern as in ``fnmatch``.

    ``local`` reads the GGUF file at ``path`` (left out, it says how a model of the server's own samples); ``upstream``
    asks ``base_url`` for ``model`` (by default the name that was asked for) with the key that the environment holds
    under ``api_key_env``.
    """

    id: str
    backend: Literal["local", "upstream"]
    path: Path | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    model: str | None = None
    context_window: Annotated[int, Meta(gt=0)] | None = None
    """Tokens of prompt and answer together, where the backend cannot tell."""
    projects: tuple[str, ...] = ()
    """Ids of the projects that may know of it; left out, all of them."""
    fine_tuning: bool = False
    """Whether the upstream is to take fine-tuning jobs of it."""
    guard: bool = False
    """Whether it is a chat model that moderates: it is asked with a prompt for the scores of all categories."""
    guard_prompt: Path | None = None
    """A text file with a prompt in place of the server's own."""
    steps: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Denoising steps of an image pipeline, where its own number is not right for its weights."""
    guidance: Annotated[float, Meta(ge=0, le=100)] | None = None
    """How closely an image pipeline keeps to its prompt."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    """How a local GGUF model samples where a request does not say, in place of what its file or its family says."""
    api_key: str = ""
    """What ``api_key_env`` named; read from the environment, refused in the file."""

    def __repr__(self) -> str:
        return f"ModelEntry({self.id!r}, {self.backend!r})"


SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty")
"""The keys that say how a local model samples."""


def entry_problem(entry: ModelEntry, environ: Mapping[str, str]) -> str | None:
    """What is wrong with an entry of the settings, in a few words."""
    if entry.api_key:
        return "api_key does not belong in a file; name an environment variable with api_key_env"
    if entry.fine_tuning and (entry.backend == "local" or WILDCARDS.search(entry.id)):
        return 'fine_tuning = true belongs to backend = "upstream" and a whole name; local models need no such word'
    if entry.guard_prompt and not entry.guard:
        return "guard_prompt belongs to guard = true"
    if entry.guard_prompt and not entry.guard_prompt.is_file():
        return f"guard_prompt {entry.guard_prompt} is no file"
    sampling = [name for name in SAMPLING if getattr(entry, name) is not None]
    if sampling and entry.backend != "local":
        return f'{sampling[0]} belongs to backend = "local"; an upstream has defaults of its own'
    if sampling and entry.model:
        return f"{sampling[0]} belongs to the entry of the model itself"
    if entry.backend == "local":
        if entry.base_url or entry.api_key_env:
            return 'base_url and api_key_env belong to backend = "upstream"'
        if entry.guard and entry.model:
            return "a local guard has path, or model (another local model to ask), not both" if entry.path else None
        return None if entry.path or (sampling and not entry.guard) else 'backend = "local" needs path, a GGUF file'
    if entry.path:
        return 'path belongs to backend = "local"'
    if not entry.base_url:
        return 'backend = "upstream" needs base_url'
    if entry.api_key_env and not environ.get(entry.api_key_env):
        return f"the environment has no {entry.api_key_env}, which api_key_env names"
    return http_problem(entry.base_url)


def http_problem(url: str) -> str | None:
    """Why a URL is none that a server can be asked at."""
    if not re.match(r"https?://[^/\s]+", url):
        return f"{url!r} is not an http:// or https:// URL"
    try:
        urlsplit(url).port  # noqa: B018  (reading it is what checks it)
    except ValueError as error:
        return f"{url!r} is no URL: {error}"
    return None
