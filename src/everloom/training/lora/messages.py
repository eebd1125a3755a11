"""What a training child says, as ``link.py`` writes it, each with bounds: it is taken for hostile."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from everloom.training.base import Metrics

Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Amount = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(max_length=2000)]
StateName = Annotated[str, Meta(pattern=r"^state-\d{1,15}\.pt$")]
AdapterName = Annotated[str, Meta(pattern=r"^checkpoint-\d{1,15}\.gguf$")]


class ChildOpened(Struct, tag_field="type", tag="opened"):
    """The model's file has been read; of its chat template: as ``TemplateFeatures``."""

    knows_tools: bool
    marks_calls: bool


class ChildBegan(Struct, tag_field="type", tag="began"):
    step: Count
    total_steps: Count
    n_epochs: Count
    batch_size: Count
    learning_rate_multiplier: Amount
    examples: Count
    tokens: Count
    device: Annotated[str, Meta(max_length=64)]
    bytes: Count
    seconds: Amount
    beta: Amount | None = None


class ChildStepped(Struct, tag_field="type", tag="stepped"):
    metrics: Metrics
    trained_tokens: Count
    seconds: Amount


class ChildSaved(Struct, tag_field="type", tag="saved"):
    step: Count
    state: StateName


class ChildCheckpoint(Struct, tag_field="type", tag="checkpoint"):
    metrics: Metrics
    adapter: AdapterName


class ChildWarned(Struct, tag_field="type", tag="warned"):
    message: Text


class ChildFinished(Struct, tag_field="type", tag="finished"):
    trained_tokens: Count
    adapter: AdapterName


class ChildPaused(Struct, tag_field="type", tag="paused"):
    pass


class ChildFailed(Struct, tag_field="type", tag="failed"):
    """The training's own error."""

    message: Text
    code: Annotated[str, Meta(max_length=64)]
    param: Annotated[str, Meta(max_length=64)] | None = None


class ChildAway(Struct, tag_field="type", tag="away"):
    """The disk is full or broken."""

    message: Text


class ChildAlive(Struct, tag_field="type", tag="alive"):
    """A long step goes on."""


ChildMessage = (
    ChildOpened
    | ChildBegan
    | ChildStepped
    | ChildSaved
    | ChildCheckpoint
    | ChildWarned
    | ChildFinished
    | ChildPaused
    | ChildFailed
    | ChildAway
    | ChildAlive
)

decode_message = msgspec.json.Decoder(ChildMessage).decode
