"""Which model names the permissions of a project leave to it."""

from everloom.objects.model_names import plain_name
from everloom.objects.rules import ModelPermissions


class Permitted:
    """The permissions of a project, as they are asked for each name.

    An allow-list says what may be asked for, word for word: an alias on it is allowed whatever it leads to, and one
    that is not on it is no way to a model that is. A deny-list denies a model under each name that leads to it: the one
    asked for, that of an alias's target, the backend's own; and in every case and tag that servers take for the same.
    """

    __slots__ = ("_listed", "_only")

    def __init__(self, permissions: ModelPermissions) -> None:
        self._only = permissions.mode == "allow_list"
        self._listed = frozenset(permissions.model_ids if self._only else map(plain_name, permissions.model_ids))

    def __call__(self, name: str, *behind: str) -> bool:
        """Whether ``name`` may be asked for, where it leads to a model of the names ``behind``."""
        if self._only:
            return name in self._listed
        return not any(plain_name(each) in self._listed for each in (name, *behind))
