"""The API's own description (OpenAPI 3.1) as the API page shows it: operations, and the objects they speak of."""

from __future__ import annotations

from typing import NamedTuple

METHODS = ("get", "post", "put", "patch", "delete")


class Field(NamedTuple):
    """A property of an object: its name, what it holds, what it means, and the schema it refers to, if any."""

    name: str
    kind: str
    about: str
    required: bool
    schema: str | None


class Answer(NamedTuple):
    """A response of an operation, by its status."""

    status: str
    about: str
    media: str
    schema: str | None


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    summary: str
    about: str
    body: tuple[Field, ...]
    media: str
    answers: tuple[Answer, ...]


def operations(document: dict) -> list[Operation]:
    """Everything the API does, in the document's order."""
    return [
        _operation(method, path, item[method], document)
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def schemas(document: dict) -> dict[str, list[Field]]:
    """The fields of every named object."""
    return {
        name: _fields(schema)
        for name, schema in document.get("components", {}).get("schemas", {}).items()
        if "properties" in schema
    }


def _operation(method: str, path: str, described: dict, document: dict) -> Operation:
    content = described.get("requestBody", {}).get("content", {})
    media, body = next(((media, entry.get("schema", {})) for media, entry in content.items()), ("", {}))
    return Operation(
        method=method.upper(),
        path=path,
        summary=described.get("summary", ""),
        about=described.get("description", ""),
        body=tuple(_fields(_resolve(body, document))),
        media=media,
        answers=tuple(_answer(status, _resolve(answer, document)) for status, answer in described["responses"].items()),
    )


def _answer(status: str, answer: dict) -> Answer:
    contents: dict[str, dict] = answer.get("content", {})
    media, entry = next(iter(contents.items()), ("", {}))
    return Answer(status, answer.get("description", ""), media, _target(entry.get("schema", {})))


def _fields(schema: dict) -> list[Field]:
    required = schema.get("required", [])
    return [
        Field(name, _kind(value), value.get("description", ""), name in required, _target(value))
        for name, value in schema.get("properties", {}).items()
    ]


def _kind(schema: dict) -> str:
    """What a schema admits, in a few words."""
    if "$ref" in schema:
        return _name(schema["$ref"])
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "properties" in schema:
        return "object with " + ", ".join(schema["properties"])
    kind = schema.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array":
        kind = f"array of {_kind(schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        kind += (
            f", {low} to {high}" if None not in (low, high) else f", {low} or more" if high is None else f", to {high}"
        )
    return kind


def _target(schema: dict) -> str | None:
    """The named object that a schema, or each of its items, is."""
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref")
    return _name(reference) if reference else None


def _name(reference: str) -> str:
    return reference.rsplit("/", 1)[-1]


def _resolve(part: dict, document: dict) -> dict:
    """What a ``$ref`` within the document stands for."""
    if "$ref" not in part:
        return part
    for step in part["$ref"].removeprefix("#/").split("/"):
        document = document[step]
    return document
