"""Assistants v1 over the one store, which knows v2 only.

- ``bodies`` has the forms of v1's requests, and turns them into the common ones;
- ``objects`` has the nouns as v1 shows them, ``views`` turns stored objects, pages and events into these;
- ``files`` has the operations that v2 no longer has, and the two that must write more in v1.

All of them are lists of what v1 has, never of what it has not: what v2 gains is unseen in v1 by itself. What v1 can say
and v2 cannot is kept as rows of its own (``AssistantFile``); what v2 can say and v1 cannot is left out of the view and
left alone by v1's changes.
"""

from everloom.api.http.routes import Dialect
from everloom.api.v1 import bodies, files, views

_AZURES = ("2024-02-15-preview", "2024-03-01-preview", "2024-04-01-preview")
"""Azure's ``api-version`` where its Assistants had this form; 2024-05-01-preview brought the newer one."""

DIALECT = Dialect(
    name="assistants=v1",
    other_names=tuple(f"assistants={version}" for version in _AZURES),
    routes=(*files.routes, *files.of_messages),
    bodies=bodies.BODIES,
    down=views.down,
    event=views.event,
    empty_threads_run=True,
    checks_ids=False,
)
