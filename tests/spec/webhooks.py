"""Webhook endpoints, which the newest SDK has and the newest document has not, as OpenAPI says them."""

from typing import Any

from everloom.objects.webhooks import EVENT_TYPES

Json = dict[str, Any]

_TEXT = {"type": "string"}
_TYPES = {
    "type": "array",
    "minItems": 1,
    "maxItems": 64,
    "items": {"type": "string", "enum": list(EVENT_TYPES)},
}
_NAME = {"type": "string", "minLength": 1, "maxLength": 256}
_URL = {"type": "string", "maxLength": 2048, "pattern": "^https?://[!-?A-~]+$"}
_ID = {"name": "webhook_endpoint_id", "in": "path", "required": True, "schema": _TEXT}


def _object(required: tuple[str, ...] | None = None, **properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def _const(value: Any) -> Json:
    return {"type": "boolean" if value is True else "string", "enum": [value]}


_SHOWN: Json = {
    "id": {"type": "string", "pattern": "^whe_"},
    "object": _const("webhook_endpoint"),
    "created_at": {"type": "integer"},
    "updated_at": {"type": "integer"},
    "event_types": {"type": "array", "items": _TEXT},
    "name": _TEXT,
    "url": _TEXT,
    "signing_secret_hint": {"type": "string", "nullable": True},
}
_ENDPOINT = _object(**_SHOWN)
_WITH_SECRET = _object(**_SHOWN, signing_secret={"type": "string", "pattern": "^whsec_"})
_PAGE = _object(
    object=_const("list"),
    data={"type": "array", "items": _ENDPOINT},
    first_id={"type": "string", "nullable": True},
    last_id={"type": "string", "nullable": True},
    has_more={"type": "boolean"},
)
_DELETED = _object(object=_const("webhook_endpoint.deleted"), id=_TEXT, deleted=_const(True))
_TESTED = _object(
    object=_const("webhook_endpoint.test"),
    event_type=_TEXT,
    status_code={"type": "integer"},
    success=_const(True),
    webhook_endpoint_id=_TEXT,
)


def _operation(id: str, answer: Json, body: Json | None = None, *, of_one: bool = True) -> Json:
    operation: Json = {
        "operationId": id,
        "parameters": [_ID] if of_one else [],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


_WHOLE = {"event_types": _TYPES, "name": _NAME, "url": _URL}
_PLACE = "/webhook_endpoints"
_ONE = f"{_PLACE}/{{webhook_endpoint_id}}"

WEBHOOKS: dict[tuple[str, str], Json] = {
    ("GET", _PLACE): {
        **_operation("listWebhookEndpoints", _PAGE, of_one=False),
        "parameters": [{"name": "after", "in": "query", "required": False, "schema": _TEXT}],
    },
    ("POST", _PLACE): _operation("createWebhookEndpoint", _WITH_SECRET, _object(**_WHOLE), of_one=False),
    ("GET", _ONE): _operation("retrieveWebhookEndpoint", _ENDPOINT),
    ("POST", _ONE): _operation("updateWebhookEndpoint", _ENDPOINT, _object((), **_WHOLE)),
    ("DELETE", _ONE): _operation("deleteWebhookEndpoint", _DELETED),
    ("POST", f"{_ONE}/rotate_secret"): _operation(
        "rotateWebhookEndpointSecret",
        _WITH_SECRET,
        _object((), keep_old_secret_active_for_24_hours={"type": "boolean"}),
    ),
    ("POST", f"{_ONE}/test"): _operation(
        "testWebhookEndpoint", _TESTED, _object(event_type={"type": "string", "enum": list(EVENT_TYPES)})
    ),
    ("GET", "/webhook_event_types"): _operation(
        "listWebhookEventTypes",
        _object(object=_const("list"), data={"type": "array", "items": _TEXT}),
        of_one=False,
    ),
}
"""The operations by method and path."""
