"""A new provider's files: they work at once, whatever its name."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev import __main__ as command
from dev.new_provider import Refused, registered, travelling, write_provider
from dev.process import ROOT
from dev.tables import document

REGISTRY = """
BEFORE = (
    "x",
)
BUILT_IN = (
    "apples",
    "pears",
)
AFTER = (
    "y",
)
"""
ROUND_TRIP = """
OTHERS = (
    Sample(
        provider="bees",
    ),
)
SAMPLES = (
    Sample(
        provider="apples",
        operation="peel",
        succeeded=End(
            callback="callback.json",
        ),
    ),
    Sample(
        provider="apples",
        operation="eat",
    ),
    Sample(
        provider="pears",
    ),
)
MORE = 1
"""
LONG = "parcels_4_everybody_in_the_world"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository, without what was made in it."""
    unwanted = shutil.ignore_patterns("node_modules", "__pycache__")
    for folder in ("services", "dev", "docs", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=unwanted)
    for file in ("function_app.py", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """The places where a provider's files go, and a registry."""
    folders = (
        "services/providers",
        "tests/unit/providers",
        "tests/vectors/signatures",
        "tests/stack",
        "docs",
    )
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "services/providers/base.py").touch()
    (tmp_path / "tests/unit/providers/test_late_wire.py").touch()
    (tmp_path / "services/providers/__init__.py").write_text(REGISTRY)
    (tmp_path / "tests/stack/test_every_provider_round_trip.py").write_text(ROUND_TRIP)
    return tmp_path


def contents(root: Path) -> dict[str, str]:
    return {str(path): path.read_text() if path.is_file() else "" for path in root.rglob("*")}


def run(root: Path, *module: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *module], cwd=root, check=False, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_what_is_written_passes_every_check_at_once(copy: Path) -> None:
    told = run(copy, "dev", "new-provider", LONG).splitlines()
    provider, wire = f"services/providers/{LONG}.py", f"tests/unit/providers/test_{LONG}_wire.py"
    registry, page = "services/providers/__init__.py", "docs/providers.md"
    round_trip = "tests/stack/test_every_provider_round_trip.py"
    kinds = ("start", "poll.succeeded", "callback.succeeded", "callback.failed")
    samples = {f"tests/vectors/{LONG}/{kind}.json" for kind in kinds}
    assert set(told[:-1]) == samples | {provider, wire, registry, round_trip, page}
    assert f"| `{LONG}` |" in (copy / page).read_text()
    run(copy, "ruff", "check", provider, wire, registry, round_trip)
    run(copy, "ruff", "format", "--check", provider, wire, registry, round_trip)
    run(copy, "mypy", provider, wire, round_trip)
    tests = ("tests/unit/providers", "tests/unit/test_tables.py", "tests/unit/test_layers.py")
    chosen = f"{LONG} or test_registry or test_tables or test_layers and not only_the_app_is_deployed"
    chosen = f"({chosen}) and not left_open"
    passed = run(copy, "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", chosen)
    assert " passed" in passed
    makes_the_trip = run(copy, "pytest", "-q", "-p", "no:cacheprovider", round_trip, "-k", "makes_the_trip")
    assert "2 passed" in makes_the_trip
    text = "".join((copy / path).read_text().lower() for path in (provider, wire, round_trip, *samples))
    assert "acme" not in text.replace("acme~crawler", "")
    assert 'api_url="https://api.parcels-4-everybody-in-the-world.example"' in text
    assert '"""parcels 4 everybody in the world: ' in text


def test_a_short_name_is_written_as_well_and_the_rest_asked_for(copy: Path) -> None:
    code = [str(path) for path in write_provider("tiny", copy) if path.suffix == ".py"]
    assert len(code) == 4
    run(copy, "ruff", "check", *code)
    run(copy, "ruff", "format", "--check", *code)
    assert (copy / "services/providers/tiny.py").read_text().count("Q: ") == 20


def test_one_question_left_open_fails_a_test_until_it_is_answered(copy: Path) -> None:
    write_provider("tiny", copy)
    every, provider = "tests/unit/providers/test_every_provider.py", copy / "services/providers/tiny.py"
    left_open = ("pytest", "-q", "-p", "no:cacheprovider", every, "-k", "left_open and tiny")
    asked = provider.read_text()
    provider.write_text(asked.replace("Q: ", "", asked.count("Q: ") - 1))
    told = run(copy, *left_open, status=1)
    assert "answer what services/providers/tiny.py asks, and delete the questions" in told
    assert "How long does it wait for our answer" in told
    provider.write_text(asked.replace("Q: ", ""))
    assert "1 passed" in run(copy, *left_open)


@pytest.mark.parametrize(
    "name",
    [
        *["", "Tiny", "2tiny", "_tiny", "ti-ny", "ti ny", "tinÿ", "tiny\n", "../tiny", "tiny.py"],
        *["x" * 33, "class", "import"],
    ],
)
def test_a_bad_name_is_refused_and_nothing_written(skeleton: Path, name: str) -> None:
    before = contents(skeleton)
    with pytest.raises(Refused, match="cannot name a provider"):
        write_provider(name, skeleton)
    assert contents(skeleton) == before


@pytest.mark.parametrize("name", ["base", "signatures", "late", "acme"])
def test_a_taken_name_is_refused_and_nothing_written(skeleton: Path, name: str) -> None:
    before = contents(skeleton)
    with pytest.raises(Refused, match="is taken"):
        write_provider(name, skeleton)
    assert contents(skeleton) == before


def test_a_registry_that_cannot_be_read_is_left_alone(skeleton: Path) -> None:
    (skeleton / "services/providers/__init__.py").write_text('BUILT_IN = ("apples", "pears")\n')
    before = contents(skeleton)
    with pytest.raises(Refused, match="BUILT_IN"):
        write_provider("tiny", skeleton)
    assert contents(skeleton) == before


def test_a_round_trip_that_cannot_be_read_is_left_alone_with_all_else(skeleton: Path) -> None:
    (skeleton / "tests/stack/test_every_provider_round_trip.py").write_text("SAMPLES = ()\n")
    before = contents(skeleton)
    with pytest.raises(Refused, match="SAMPLES"):
        write_provider("tiny", skeleton)
    assert contents(skeleton) == before


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("a", '    Sample(\n        provider="apples",\n        operation="peel",\n'),
        ("apples_2", '    Sample(\n        provider="pears",\n'),
        ("zucchini", ")\nMORE = 1\n"),
    ],
)
def test_a_row_comes_in_order_and_nothing_else_is_moved(name: str, before: str) -> None:
    row = f'    Sample(\n        provider="{name}",\n        operation="grow",\n    ),\n'
    assert travelling(row, ROUND_TRIP) == ROUND_TRIP.replace(before, row + before)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("a", ["a", "apples", "pears"]),
        ("bananas", ["apples", "bananas", "pears"]),
        ("zucchini", ["apples", "pears", "zucchini"]),
    ],
)
def test_the_registry_stays_sorted_and_nothing_else_is_touched(name: str, names: list[str]) -> None:
    lines = "".join(f'    "{one}",\n' for one in names)
    assert registered(name, REGISTRY) == REGISTRY.replace('    "apples",\n    "pears",\n', lines)


def test_the_command_says_why_it_refuses(
    skeleton: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "ROOT", skeleton)
    monkeypatch.setattr(sys, "argv", ["dev", "new-provider", "base"])
    assert command.main() == 1
    assert capsys.readouterr() == ("", "the name base is taken: choose another\n")


def test_the_command_prints_the_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dev", "providers"])
    assert command.main() == 0
    assert capsys.readouterr().out == document()
