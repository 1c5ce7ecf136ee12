"""What FastAPI cannot see in the code of the endpoints, for the document at ``/openapi.json``."""

from __future__ import annotations

from typing import Any

from mmposter.serve.multipart import FORM
from mmposter.serve.schema import ErrorAnswer, HealthAnswer

Responses = dict[int | str, dict[str, Any]]

_REASONS = {
    400: "The multipart body is malformed or cut off.",
    408: "The body did not come in time.",
    413: "A poster, the body, or the number of posters is over its limit.",
    415: "The body is no multipart form.",
    422: "No file, a field that is no file, no file that is a usable picture, or a parameter that is not allowed.",
    500: "The server failed; its log has the cause under the id in the message.",
    503: "The queue is full, or the server is stopping; the header `Retry-After` says when to try again.",
}

HEALTH_RESPONSES: Responses = {503: {"model": HealthAnswer, "description": "Loading, or stopping."}}

_POSTERS = {
    "required": True,
    "description": "One or more files; the limits are those of `/api/v1/model`.",
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": ["posters"],
                "properties": {"posters": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        }
    },
}


def _parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_BRANCHES = _parameter(
    "branches", "Look through these only, such as `cnn,style`; default: all that `/api/v1/model` lists.", type="string"
)

PREDICT_REQUEST: dict[str, Any] = {
    "parameters": [
        _BRANCHES,
        _parameter("top_k", "The K surest genres in place of those above their thresholds.", type="integer", minimum=1),
    ],
    "requestBody": _POSTERS,
}
EXPLAIN_REQUEST: dict[str, Any] = {
    "parameters": [
        _BRANCHES,
        _parameter(
            "genres",
            "Explain these, such as `Drama,Horror`; default: those that are predicted.",
            type="string",
        ),
        _parameter("heat_maps", "Whether they are wanted; default: true.", type="boolean"),
    ],
    "requestBody": _POSTERS,
}


def errors(*statuses: int) -> Responses:
    """The answers with these statuses, for an endpoint's documentation."""
    return {status: {"model": ErrorAnswer, "description": _REASONS[status]} for status in statuses}
