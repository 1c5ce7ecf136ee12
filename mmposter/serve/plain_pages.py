"""The pages at ``/docs`` and ``/``, made from the OpenAPI document.

FastAPI's own page at ``/docs`` loads its script from another server. Ours holds everything, and runs no script.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmposter.document import CodeBlock, PageSection, TableBlock, render_page

_CURL = """curl -F posters=@poster.jpg {address}/api/v1/predict
curl -F posters=@a.jpg -F posters=@b.png '{address}/api/v1/predict?branches=cnn,style&top_k=3'
"""
_PYTHON = """import requests

files = [("posters", open(name, "rb")) for name in ("a.jpg", "b.png")]
answer = requests.post("{address}/api/v1/predict", files=files)
for poster in answer.json()["posters"]:
    print(poster["name"], poster["genres"], poster["error"])
"""


def index_page(openapi: Mapping[str, Any], address: str) -> str:
    """What ``/`` says where there is no page for people.

    Args:
        openapi: the document.
        address: of this server, as the reader wrote it, without a slash at its end.
    """
    rows = [[f"{method} {path}", values["summary"]] for path, method, values in _operations(openapi)]
    rows += [["GET /docs", "This interface in full, for people"], ["GET /openapi.json", "The same, for programs"]]
    table = TableBlock("", ["endpoint", "what it gives"], rows, align="ll")
    blocks = (table, CodeBlock(_CURL.format(address=address)))
    info = openapi["info"]
    lead = f"{info['summary']}. For people there is {address}/docs; for programs, what follows."
    return render_page(info["title"], lead, {}, [PageSection("endpoints", "Endpoints", (), blocks)])


def docs_page(openapi: Mapping[str, Any], address: str) -> str:
    """Everything that the document says; arguments as for `index_page`."""
    code = [CodeBlock(_CURL.format(address=address)), CodeBlock(_PYTHON.format(address=address))]
    sections = [PageSection("try", "Try it", ["From a shell, and from Python:"], code)]
    sections += [_endpoint(path, method, values) for path, method, values in _operations(openapi)]
    sections.append(_answers(openapi["components"]["schemas"]))
    info = openapi["info"]
    facts = {"version of mmposter": info["version"], "for programs": "`/openapi.json`"}
    lead = (
        f"{info['summary']}. Every answer is JSON, but for `/metrics`; all with a status from 400 have one shape, "
        "`ErrorAnswer`, but for `/health`. Status 403, at every path: the name in `Host` is none of this server's, "
        "or the page that asks is another server's; the answer says what to type."
    )
    return render_page(f"{info['title']}: REST interface", lead, facts, sections)


def _operations(openapi: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, values in methods.items():
            yield path, method.upper(), values


def _endpoint(path: str, method: str, values: Mapping[str, Any]) -> PageSection:
    text = [line for line in values.get("description", "").split("\n\n") if line]
    blocks = []
    rows = [
        [item["name"], item["schema"]["type"], item["in"], item["description"]] for item in values.get("parameters", ())
    ]
    body = values.get("requestBody")
    if body is not None:
        rows.append(["posters", ", ".join(body["content"]), "body", body["description"]])
    if rows:
        blocks.append(TableBlock("What it takes", ["name", "type", "where", "meaning"], rows, align="llll"))
    rows = [[status, _content(answer), answer["description"]] for status, answer in sorted(values["responses"].items())]
    blocks.append(TableBlock("What it answers", ["status", "content", "meaning"], rows, align="lll"))
    return PageSection(
        f"{method}{path}".lower().replace("/", "-"), f"{method} {path}", [values["summary"], *text], blocks
    )


def _answers(schemas: Mapping[str, Any]) -> PageSection:
    blocks: list[TableBlock | CodeBlock] = []
    for name, schema in schemas.items():
        rows = [[field, _type(values), values.get("description", "")] for field, values in schema["properties"].items()]
        caption = f"`{name}`: {schema.get('description', '')}"
        blocks.append(TableBlock(caption, ["field", "type", "meaning"], rows, align="lll"))
        if "example" in schema:
            blocks.append(CodeBlock(json.dumps(schema["example"], indent=2)))
    return PageSection("answers", "Answers in JSON", (), blocks)


def _content(answer: Mapping[str, Any]) -> str:
    return ", ".join(
        _type(values["schema"]) if "$ref" in values.get("schema", ()) else kind
        for kind, values in answer.get("content", {}).items()
    )


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"{_type(schema['additionalProperties'])} by name"
    return kind
