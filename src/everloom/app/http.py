"""The HTTP floor put together: which tags of the reference are answered, and the steps that a request takes."""

from collections.abc import Iterable

from everloom.api import (
    assistants,
    batches,
    chat,
    completions,
    embeddings,
    files,
    fine_tuning,
    health,
    image_files,
    images,
    messages,
    metrics,
    models,
    moderations,
    runs,
    speech,
    threads,
    transcriptions,
    uploads,
    vector_store_files,
    vector_stores,
    webhook_endpoints,
)
from everloom.api.admin import (
    admin_api_keys,
    audit_logs,
    catalogue,
    doctor,
    invite_links,
    invites,
    model_permissions,
    project_api_keys,
    project_users,
    projects,
    rate_limits,
    service_accounts,
    spend_alerts,
    spend_limits,
    usage,
    users,
)
from everloom.api.http.auth import Auth
from everloom.api.http.metrics import record
from everloom.api.http.responder import Responder
from everloom.api.http.router import Router
from everloom.api.http.routes import Route
from everloom.api.http.server import Server
from everloom.api.http.steps import bind, translate
from everloom.api.openapi import told
from everloom.api.v1 import DIALECT
from everloom.context import Ports

TAGS = (
    admin_api_keys,
    assistants,
    audit_logs,
    batches,
    chat,
    completions,
    catalogue,
    doctor,
    embeddings,
    files,
    fine_tuning,
    health,
    image_files,
    images,
    invite_links,
    invites,
    messages,
    metrics,
    model_permissions,
    models,
    moderations,
    project_api_keys,
    project_users,
    projects,
    rate_limits,
    runs,
    service_accounts,
    speech,
    spend_alerts,
    spend_limits,
    threads,
    transcriptions,
    uploads,
    usage,
    users,
    vector_store_files,
    vector_stores,
    webhook_endpoints,
)
"""The modules whose ``routes`` are answered."""

ROUTES: tuple[Route, ...] = told(route for tag in TAGS for route in tag.routes)


WATCHED: tuple[Route, ...] = (*health.routes, *metrics.routes)
"""What a worker answers, which serves nothing else."""


def build_server(ports: Ports, routes: Iterable[Route] = ROUTES) -> Server:
    """The application that answers ``routes`` and, where they are asked for, the dialect's own."""
    auth = Auth(ports.database, ports.known_keys, former_ids=ports.limits.former_ids)
    return Server(
        ports,
        (
            record,
            Responder(auth.slug).respond,
            Router(routes, [DIALECT]).find,
            auth.authenticate,
            translate,
            bind,
        ),
        auth.close,
    )
