"""Assistants v1 over the one store, which knows v2 only (spec/semantics.md sections 2 and 5).

- ``bodies`` turns v1 requests into the common ones;
- ``views`` shows stored objects, pages and events to v1 clients;
- ``files`` has the operations that v2 no longer has, and the two that must write more in v1.

What v1 can say and v2 cannot is kept as rows of its own (``AssistantFile``); what v2 can say and v1
cannot is left out of the view and left alone by v1's changes.
"""

from everloom.api.v1 import bodies, files, views
from everloom.api.v1.dialect import DIALECT

__all__ = ["DIALECT", "bodies", "files", "views"]
