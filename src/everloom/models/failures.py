"""How models fail once they have begun to answer, in the words of this server."""

from everloom.kit.errors import ModelFailure
from everloom.kit.secrets import SECRETS


def failed_midway(model: str, error: bytes) -> ModelFailure:
    """The failure of a model whose stream tells of an error."""
    said = SECRETS.hide(error[:1000].decode("utf-8", "replace"))[:500]
    return ModelFailure(f"The model {model} failed in the middle of its answer: {said}", code="upstream_error")


def unreadable(model: str) -> ModelFailure:
    """The failure of a model that answers with no JSON, or with other JSON than the reference's."""
    return ModelFailure(f"The model {model} answered with something that is no JSON.", code="upstream_broken")
