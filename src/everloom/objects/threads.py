"""Threads (ThreadObject)."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from everloom.objects.base import Metadata, Object
from everloom.objects.messages import NewMessage
from everloom.objects.tools import GivenToolResources, NewToolResources, ToolResources


class Thread(Object, kw_only=True):
    object: Literal["thread"] = "thread"
    metadata: Metadata = {}
    tool_resources: ToolResources = field(default_factory=ToolResources)


class NewThread(Struct, kw_only=True, forbid_unknown_fields=True):
    """A thread to be, with its first messages (CreateThreadRequest)."""

    messages: list[NewMessage] = []
    tool_resources: NewToolResources | None = None
    metadata: Metadata | None = None


class ThreadChanges(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change about a thread (ModifyThreadRequest)."""

    tool_resources: GivenToolResources | None | UnsetType = UNSET
    metadata: Metadata | None | UnsetType = UNSET
