"""What is deployed: exactly the files that .funcignore lets through, on exactly requirements.txt."""

import json
import os
import shutil
import subprocess
import venv
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORT_ALL = """
import json, pkgutil, sys
import function_app, services
for module in pkgutil.walk_packages(services.__path__, "services."):
    if module.name != "services.__main__":
        __import__(module.name)
functions = sorted(function.get_function_name() for function in function_app.app.get_functions())
ours = sorted(name for name in sys.modules if name.partition(".")[0] in ("bench", "dev", "examples", "tests"))
print(json.dumps({"functions": functions, "ours": ours}))
"""


def packaged(folder: Path, patterns: list[str]) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name != "__pycache__" and not any(fnmatch(path.name, pattern) for pattern in patterns):
            found += packaged(path, patterns) if path.is_dir() else [path]
    return found


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deployed folder."""
    folder = tmp_path_factory.mktemp("package")
    patterns = [line for line in (ROOT / ".funcignore").read_text().splitlines() if line[:1] not in ("", "#")]
    for path in packaged(ROOT, patterns):
        place = folder / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return folder


def test_only_what_the_app_needs_is_in_the_package(package: Path) -> None:
    assert {path.name for path in package.iterdir()} == {
        "function_app.py",
        "host.json",
        "requirements.txt",
        "services",
    }
    assert {path.suffix for path in (package / "services").rglob("*") if path.is_file()} == {".py"}


def test_the_package_serves_every_function_on_its_own_requirements(package: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = f"-m pip install -qq --disable-pip-version-check -r {package / 'requirements.txt'}".split()
    subprocess.run([python, *install], check=True)
    settings = json.loads((ROOT / "local.settings.json.example").read_text())["Values"]
    # As on Azure: the app's folder is on the path and is not where the process stands.
    found = subprocess.run(
        [python, "-c", IMPORT_ALL],
        cwd=tmp_path,
        env={**settings, "PYTHONPATH": str(package), "PATH": os.environ["PATH"]},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert json.loads(found.stdout) == {
        "functions": [
            "advance_job",
            "audit",
            "cancel_job",
            "health",
            "openapi",
            "read_job",
            "receive_webhook",
            "start_job",
            "tidy",
        ],
        "ours": [],
    }
