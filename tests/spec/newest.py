"""The newest reference, as far as it goes beyond the one of December 2024: what the organization's half has gained, and
fine-tuning.

It is written in OpenAPI 3.1, and the documents of ``overlay.py`` in 3.0, so that an operation is taken over as 3.0 says
the same: with nothing referred to, and null as ``nullable``.
"""

import json
from functools import cache
from typing import Any

import yaml

from tests.spec.spec import SPEC

Json = dict[str, Any]

GROUPS = {"Project model permissions", "Spend limits", "Spend alerts"}
"""The groups that are built whole and that December 2024 has not."""

_JOB = "/fine_tuning/jobs/{fine_tuning_job_id}"
SINGLE = {("POST", f"{_JOB}/pause"), ("POST", f"{_JOB}/resume")}
"""Operations that are built, of groups that are not built whole: graders and the permissions of checkpoints are not."""


@cache
def newest() -> Json:
    """The document as it lies there."""
    with (SPEC / "openapi-latest.yaml").open(encoding="utf-8") as file:
        found: Json = yaml.load(file, yaml.CSafeLoader)
    return found


@cache
def gained() -> dict[tuple[str, str], Json]:
    """The operations of ``GROUPS`` and ``SINGLE`` by method and path. Not to be changed by its callers."""
    if not SPEC.is_dir():
        return {}
    rows = json.loads((SPEC / "endpoints-later.json").read_text(encoding="utf-8"))
    return {
        place: _operation(newest()["paths"][row["path"]][row["method"].lower()])
        for row in rows
        if (place := (row["method"], row["path"])) in SINGLE or row["group"] in GROUPS
    }


def component(name: str) -> Json:
    """A schema of the document by its name, as ``gained`` has it."""
    found: Json = _plain({"$ref": f"#/components/schemas/{name}"})
    return found


def tuning_method() -> Json:
    """The method of a fine-tuning job as a request may give it. What teaches by graders is not built."""
    found = component("FineTuneMethod")
    found["properties"]["type"]["enum"].remove("reinforcement")
    del found["properties"]["reinforcement"]
    _close(found)
    return found


def edit_as_json() -> Json:
    """The form of createImageEdit that is no form."""
    contents = newest()["paths"]["/images/edits"]["post"]["requestBody"]["content"]
    schema: Json = _plain(contents["application/json"]["schema"])
    _close(schema)
    return schema


def _operation(found: Json) -> Json:
    kept = {name: found[name] for name in ("operationId", "parameters", "requestBody", "responses") if name in found}
    operation: Json = _plain(kept)
    for answer in operation["responses"].values():
        _let_jobs_pause(answer["content"]["application/json"]["schema"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        _close(content["schema"])
    return operation


def _let_jobs_pause(schema: Json) -> None:
    """The document's own example of pauseFineTuningJob answers a status that its list of them lacks."""
    if schema.get("title") == "FineTuningJob":
        schema["properties"]["status"]["enum"].append("paused")


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(child) for child in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        named: Json = newest()["components"]["schemas"]
        beside = {name: value for name, value in node.items() if name != "$ref"}
        return _plain({**named[node["$ref"].rpartition("/")[2]], **beside})
    choices = node.get("anyOf", [])
    if {"type": "null"} in choices:
        others = [_plain(choice) for choice in choices if choice != {"type": "null"}]
        return {**(others[0] if len(others) == 1 else {"anyOf": others}), "nullable": True}
    return {name: _plain(child) for name, child in node.items() if not name.startswith("x-")}


def _close(schema: Any) -> None:
    """Ours: what an object of a request does not have is refused in it, and so is what can be no amount or address."""
    if not isinstance(schema, dict):
        return
    for child in schema.get("properties", {}).values():
        _close(child)
    if schema.get("type") == "object":
        schema["additionalProperties"] = False
    if "recipients" in schema.get("properties", {}):
        email = {"type": "string", "pattern": "^[^\\s@]+@[^\\s@]+$", "minLength": 3, "maxLength": 320}
        schema["properties"]["recipients"] |= {"minItems": 1, "maxItems": 50, "items": email}
        schema["properties"]["subject_prefix"] |= {"maxLength": 256, "pattern": "^[ -~]*$"}
    if "model_ids" in schema.get("properties", {}):
        name = {"type": "string", "minLength": 1, "maxLength": 256}
        schema["properties"]["model_ids"] |= {"maxItems": 1000, "items": name}
    if "threshold_amount" in schema.get("properties", {}):
        schema["properties"]["threshold_amount"] |= {"maximum": 1_000_000_000_000}
