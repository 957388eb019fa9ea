"""The project's template as values, for the tests."""

import json
from pathlib import Path
from typing import Any

from tests.infra import bicep
from tests.infra.bicep import Loop, Template, Value

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
MAIN = bicep.read(INFRA / "main.bicep")
MODULES = {path.stem: bicep.read(path) for path in sorted((INFRA / "modules").glob("*.bicep"))}
PARAMETERS: dict[str, Any] = {
    name: entry["value"]
    for name, entry in json.loads((INFRA / "main.parameters.json").read_text())["parameters"].items()
}


def body(template: Template, name: str) -> dict[str, Any]:
    """Return what a resource is set to; for a loop, what each of its resources is."""
    value: Value = template.resources[name].value
    if isinstance(value, Loop):
        value = value.body
    assert isinstance(value, dict)
    return value
