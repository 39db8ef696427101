"""The API's page for people, made from its OpenAPI description: no script, nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from crossdistill.report.render import templates
from crossdistill.serve.service import Service


def reference_page(description: dict[str, Any], service: Service) -> str:
    """HTML with every address, its parameters and its types."""
    page = templates("crossdistill.serve").get_template("api.html.j2")
    return page.render(
        title=description["info"]["title"],
        about=description["info"]["description"],
        version=description["info"]["version"],
        operations=_operations(description),
        types=_types(description),
        example=next(iter(service.students), "RUN"),
        limits=service.limits,
    )


def _operations(description: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for path, methods in description["paths"].items():
        for method, about in methods.items():
            body = about.get("requestBody", {}).get("content", {})
            answer = about["responses"]["200"].get("content", {})
            found.append(
                {
                    "method": method.upper(),
                    "path": path,
                    "about": about.get("description", ""),
                    "parameters": [
                        {
                            "name": each["name"],
                            "in": each["in"],
                            "required": each.get("required", False),
                            "type": _type(each["schema"]),
                            "about": each.get("description", each["schema"].get("description", "")),
                            "default": each["schema"].get("default"),
                        }
                        for each in about.get("parameters", [])
                    ],
                    "body": [(kind, _type(each.get("schema", {}))) for kind, each in body.items()],
                    "answer": [(kind, _type(each.get("schema", {}))) for kind, each in answer.items()],
                    "errors": [
                        (status, each["description"])
                        for status, each in about["responses"].items()
                        if status not in ("200", "422")
                    ],
                }
            )
    return found


def _types(description: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, schema in description["components"]["schemas"].items():
        if name in ("HTTPValidationError", "ValidationError"):
            continue
        required = schema.get("required", [])
        fields = [
            (key, _type(value), value.get("description", ""), key in required)
            for key, value in schema.get("properties", {}).items()
        ]
        found.append({"name": name, "about": schema.get("description", ""), "fields": fields})
    return found


def _type(schema: dict[str, Any]) -> str:
    """A type as people write it: ``list of Found``, ``number or null``."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"'{each}'" for each in schema["enum"])
    if "const" in schema:
        return f"'{schema['const']}'"
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return "file"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))
