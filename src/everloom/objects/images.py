"""Images that models made and that are fetched from this server."""

from everloom.objects.base import Object


class GeneratedImage(Object, kw_only=True):
    """An image that was asked for as a URL; its bytes are the blob named by its id.

    It belongs to no project: whoever has the URL sees it, until ``expires_at``. ``secret`` (hex) signs the URL.
    """

    expires_at: int
    content_type: str
    bytes: int
    secret: str
