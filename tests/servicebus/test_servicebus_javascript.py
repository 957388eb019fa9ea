"""What Microsoft's SDK for JavaScript sees of the emulator: the scenarios in javascript/scenarios.mjs."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from dev.servicebus.process import Running, start

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "javascript" / "scenarios.mjs"
# By name: the kinds of entity that each asks for.
SCENARIOS = dict(re.findall(r"\nexport async function (\w+)\(bus, \{ (.+?) \}\) \{", SCRIPT.read_text()))
AT_ONCE = 4

Finished = subprocess.CompletedProcess[str]


def run(scenario: str, connection_string: str, *entities: str) -> Finished:
    node = shutil.which("node", path=str(ROOT / ".venv" / "bin")) or shutil.which("node")
    assert node is not None, "Node.js 20 or newer is missing: the JavaScript SDK cannot show anything"
    command = [node, str(SCRIPT), scenario, connection_string, *entities]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def run_with_faults(config_file: Path, scenario: str, *entities: str) -> Finished:
    """Run a scenario with an emulator of its own: faults are an emulator's."""
    with start(config_file) as own:
        faults = own.health_url.replace("/health", "/faults")
        return run(scenario, own.connection_string, *entities, f"faults={faults}")


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, config_file: Path, emulator: Running, fresh: Callable[[str], str]
) -> Iterator[dict[str, "Future[Finished]"]]:
    """Start the scenarios that are to be tested, some at once: most of their time they wait."""
    wanted: list[str] = [
        str(item.callspec.params["scenario"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = {}
        for scenario in wanted:
            kinds = SCENARIOS[scenario].split(", ")
            entities = [f"{kind}={fresh(kind)}" for kind in kinds if kind != "faults"]
            if "faults" in kinds:
                started[scenario] = pool.submit(run_with_faults, config_file, scenario, *entities)
            else:
                started[scenario] = pool.submit(run, scenario, emulator.connection_string, *entities)
        yield started


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_sdk_for_javascript_shows_that(scenario: str, runs: "dict[str, Future[Finished]]") -> None:
    finished = runs[scenario].result()
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_no_scenario_is_passed_over() -> None:
    assert len(SCENARIOS) == SCRIPT.read_text().count("\nexport ") > 0
