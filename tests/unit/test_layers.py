"""Who may import whom: the rule of docs/architecture.md, read from the source; and what is deployed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = [
    path
    for path in sorted((ROOT / "services").rglob("*.py"))
    if path.relative_to(ROOT / "services").parts[0] not in {"adapters", "bootstrap.py", "__main__.py"}
]
OUTSIDE = {
    "azure",
    "httpx",
    "aiohttp",
    "os",
    "pathlib",
    "sqlite3",
    "socket",
    "time",
    "random",
    "subprocess",
    "threading",
}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_knows_no_azure_no_network_no_environment_and_no_clock(path: Path) -> None:
    assert {name.partition(".")[0] for name in imports(path)} & OUTSIDE == set()
    source = path.read_text()
    for call in ("datetime.now(", "utcnow(", "asyncio.sleep("):
        assert call not in source


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_no_adapter(path: Path) -> None:
    assert not any(name.startswith(("services.adapters", "services.bootstrap")) for name in imports(path))


@pytest.mark.parametrize(
    "path",
    [ROOT / "function_app.py", *sorted((ROOT / "services").rglob("*.py"))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_nothing_that_is_deployed_imports_tools_or_tests(path: Path) -> None:
    assert not any(name.partition(".")[0] in {"bench", "dev", "examples", "tests"} for name in imports(path))


@pytest.mark.parametrize(
    ("folder", "may_import"),
    [
        ("signatures", {"services.signatures", "services.jsons", "services.models", "services.errors"}),
        (
            "providers",
            {
                "services.providers",
                "services.handshakes",
                "services.senders",
                "services.signatures",
                "services.jsons",
                "services.models",
                "services.errors",
            },
        ),
        ("adapters", {"services.adapters", "services.ports", "services.models", "services.errors"}),
    ],
)
def test_a_layer_imports_only_what_lies_below_it(folder: str, may_import: set[str]) -> None:
    for path in sorted((ROOT / "services" / folder).rglob("*.py")):
        ours = {name for name in imports(path) if name.startswith("services.")}
        above = {name for name in ours if ".".join(name.split(".")[:2]) not in may_import}
        assert above == set(), f"{path.name} reaches up"


@pytest.mark.parametrize("module", ["models", "errors"], ids=["models", "errors"])
def test_the_lowest_layer_imports_nothing_of_ours(module: str) -> None:
    assert not any(name.startswith("services") for name in imports(ROOT / "services" / f"{module}.py"))


def test_a_cold_start_without_public_keys_imports_no_cryptography() -> None:
    code = (
        "import sys; from services import bootstrap; from services.providers import providers;"
        "providers(['stripe', 'replicate', 'acme'], {'acme': {'start_url': 'https://a.example'}});"
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
