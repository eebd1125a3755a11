"""Models a server offers (Model)."""

from typing import Literal

from msgspec import Struct


class Model(Struct, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(Struct, kw_only=True):
    """All models at once: this list has no pages."""

    object: Literal["list"] = "list"
    data: list[Model]
