"""Threads (ThreadObject)."""

from typing import Literal

from msgspec import field

from everloom.objects.base import Metadata, Object
from everloom.objects.tools import ToolResources


class Thread(Object, kw_only=True):
    object: Literal["thread"] = "thread"
    metadata: Metadata = {}
    tool_resources: ToolResources = field(default_factory=ToolResources)
