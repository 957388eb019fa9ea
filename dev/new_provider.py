"""Writes the files of a new provider from dev/template: they work, and ask what is to be filled in.

The template is that of a provider called acme, whose name is replaced throughout.
"""

import keyword
import re
import subprocess
import sys
from pathlib import Path

from services.models import is_name

TEMPLATE = Path(__file__).parent / "template"
REGISTRY = Path("services/providers/__init__.py")
PAGE = Path("docs/providers.md")
ROUND_TRIP = Path("tests/stack/test_every_provider_round_trip.py")
ROW = TEMPLATE / "round_trip_row.py.txt"
# The README and the tests describe a provider of this name by settings.
BY_SETTINGS = "acme"
_SAMPLES = re.compile(r"(?<=\nSAMPLES = \(\n)(?:    Sample\(\n(?:        .*\n)+    \),\n)+(?=\)\n)")
_BUILT_IN = re.compile(r"(?<=\nBUILT_IN = \(\n)(?:    \"\w+\",\n)+")


class Refused(Exception):
    """A provider of this name cannot be written; the message says why."""


def write_provider(name: str, root: Path) -> list[Path]:
    """Write a provider's files into the repository at `root`, and return them; raises Refused."""
    if not is_name(name) or keyword.iskeyword(name):
        raise Refused(
            f"{name!r} cannot name a provider: a-z 0-9 _, a letter first, at most 32 characters, and no word "
            "of Python's own"
        )
    folder = root / "tests/vectors" / name
    files = {root / path: text for path, text in _files(name).items()}
    taken = [path for path in (*files, folder) if path.exists()]
    if taken or name == BY_SETTINGS:
        raise Refused(f"the name {name} is taken: choose another")
    registry = root / REGISTRY
    with_name = registered(name, registry.read_text())
    round_trip = root / ROUND_TRIP
    with_row = travelling(_renamed(ROW.read_text(), name), round_trip.read_text())
    folder.mkdir()
    for path, text in files.items():
        path.write_text(text)
    registry.write_text(with_name)
    round_trip.write_text(with_row)
    code = [str(path) for path in files if path.suffix == ".py"]
    # A name of another length has other line breaks, and another place among the imports.
    _run(root, "ruff", "check", "--quiet", "--select", "I", "--fix", *code)
    _run(root, "ruff", "format", "--quiet", *code)
    (root / PAGE).write_text(_run(root, "dev", "providers"))
    return [*files, registry, round_trip, root / PAGE]


def _files(name: str) -> dict[str, str]:
    places = {
        "provider.py.txt": f"services/providers/{name}.py",
        "test_wire.py.txt": f"tests/unit/providers/test_{name}_wire.py",
    }
    return {
        places.get(path.name, f"tests/vectors/{name}/{path.name}"): _renamed(path.read_text(), name)
        for path in sorted(TEMPLATE.iterdir())
        if path != ROW
    }


def _renamed(text: str, name: str) -> str:
    dashed = name.replace("_", "-")  # in the names of secrets and hosts
    text = re.sub(r"acme(?=-|\.example)", dashed, text)
    return text.replace("acme", name).replace("Acme", name.replace("_", " ").title())


def registered(name: str, text: str) -> str:
    """Put a name into the registry's source; raises Refused if it does not look as it should."""
    found = _BUILT_IN.search(text)
    if not found:
        raise Refused(f"{REGISTRY} has no BUILT_IN with a name on each line")
    lines = sorted([*found[0].splitlines(keepends=True), f'    "{name}",\n'])
    return text[: found.start()] + "".join(lines) + text[found.end() :]


def travelling(row: str, text: str) -> str:
    """Put a row into the round trip's source; raises Refused if it does not look as it should."""
    found = _SAMPLES.search(text)
    if not found:
        raise Refused(f"{ROUND_TRIP} has no SAMPLES with a provider's Sample on the lines of each")
    rows = re.split(r"^(?=    Sample\($)", found[0], flags=re.MULTILINE)[1:]
    in_order = sorted([*rows, row], key=lambda one: one.split('"')[1])  # the provider's name comes first
    return text[: found.start()] + "".join(in_order) + text[found.end() :]


def _run(root: Path, *module: str) -> str:
    return subprocess.run(  # noqa: S603 - our own tools
        [sys.executable, "-m", *module], cwd=root, check=True, capture_output=True, text=True
    ).stdout
