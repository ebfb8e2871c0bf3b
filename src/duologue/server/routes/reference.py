"""/docs: the API as a page, made from its OpenAPI document. No scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

Json = dict[str, Any]

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def reference(request: Request) -> HTMLResponse:
    """Every route with its fields and bounds."""
    document = request.app.openapi()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width"><title>Duologue: API</title>',
        f"<h1>Duologue {escape(document['info']['version'])}: API</h1>",
        "<p>For programs: <a href=openapi.json>openapi.json</a></p>",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += [f"<h2><code>{method.upper()} {escape(path)}</code></h2>"]
            parts += [f"<p>{escape(operation.get('description', ''))}</p>"]
            parts += _fields(document, operation)
    return HTMLResponse("".join(parts))


def _fields(document: Json, operation: Json) -> Iterator[str]:
    """A table of what a request may say."""
    rows = [
        (field["name"], field["in"], field.get("required", False), field["schema"])
        for field in operation.get("parameters", [])
    ]
    content = operation.get("requestBody", {}).get("content", {})
    schema = _resolved(document, content.get("application/json", {}).get("schema", {}))
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        rows.append((name, "body", name in required, field))
    if not rows:
        return
    yield "<table><tr><th>field<th>in<th>needed<th>values"
    for name, place, is_needed, field in rows:
        yield f"<tr><td><code>{escape(name)}</code><td>{place}<td>{'yes' if is_needed else ''}"
        yield f"<td>{escape(_values(document, field))}"
    yield "</table>"


def _resolved(document: Json, schema: Json) -> Json:
    """The schema that a schema stands for, null aside."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) == 1:
        return _resolved(document, kinds[0])
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Json = document["components"]["schemas"][name] if name else schema
    return found


def _values(document: Json, field: Json) -> str:
    """What a field may be, in words."""
    schema = _resolved(document, field)
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "properties" in schema:
        return f"object: {', '.join(schema['properties'])}"
    words = [str(schema.get("type", "any"))]
    for name, sign in (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("minLength", "length ≥"),
        ("maxLength", "length ≤"),
        ("maxItems", "items ≤"),
    ):
        if name in schema:
            words.append(f"{sign} {schema[name]}")
    if field.get("default") not in (None, ""):
        words.append(f"default {field['default']}")
    return ", ".join(words)
