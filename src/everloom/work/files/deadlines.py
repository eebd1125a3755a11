"""Files that are to go by themselves: the time is kept with the file, and looked for by the sweep that deletes it."""

from collections.abc import Sequence

from everloom.objects.files import File, FileDeadline, FileExpiresAfter
from everloom.store.base import Add, Operation


def adding(file: File, expires_after: FileExpiresAfter | None) -> Sequence[Operation]:
    """What keeps a new file, and when it is to be deleted where that is said: ``expires_at`` is set then."""
    if expires_after is None:
        return [Add(file)]
    file.expires_at = file.created_at + expires_after.seconds
    deadline = FileDeadline(id=file.id, created_at=file.created_at, expires_at=file.expires_at)
    return [Add(file), Add(deadline, rank=deadline.expires_at)]
