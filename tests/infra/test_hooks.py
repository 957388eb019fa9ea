"""The scripts that azd and the pipelines run, against stand-ins for az and curl that note their calls."""

import base64
import subprocess
from pathlib import Path

import pytest

from tests.infra.template import INFRA

AZ = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
  *'secret list'*) cat "$NAMES" ;;
  *'secret set'*) cat > "$VALUE" ;;
esac
"""
CURL = """#!/bin/sh
echo "$*" >> "$LOG"
[ "$(wc -l < "$LOG")" -ge "$FAILURES" ]
"""


def run(folder: Path, script: str, *arguments: str, names: str | None = "", **more: str) -> str:
    """Run a script; `names` is what the vault has, None for one that cannot be read."""
    for tool, text in (("az", AZ), ("curl", CURL)):
        (folder / tool).write_text(text)
        (folder / tool).chmod(0o755)
    if names is not None:
        (folder / "names").write_text(names)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "LOG": str(folder / "log"),
        "NAMES": str(folder / "names"),
        "VALUE": str(folder / "value"),
        "AZURE_KEY_VAULT_NAME": "kv-one",
        "PROVIDERS": "stripe,weather",
        "HOOK_PAUSE": "0",
        "SMOKE_PAUSE": "0",
        **more,
    }
    command = ["sh", str(INFRA / "hooks" / script), *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return f"{ran.stdout}exit {ran.returncode}"


def calls(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def test_a_missing_token_key_is_made_and_its_value_is_shown_nowhere(tmp_path: Path) -> None:
    said = run(tmp_path, "postprovision.sh", names="stripe-api-key\n")
    assert calls(tmp_path) == [
        "keyvault secret list --vault-name kv-one --query [].name --output tsv",
        "keyvault secret set --vault-name kv-one --name callback-token-key --file /dev/stdin --output none",
    ]
    value = (tmp_path / "value").read_text()
    assert len(base64.b64decode(value, validate=True)) == 48
    assert value not in said
    assert said.startswith("callback-token-key was made, in kv-one\n")
    assert said.endswith("exit 0")


def test_a_token_key_that_is_there_stays(tmp_path: Path) -> None:
    said = run(tmp_path, "postprovision.sh", names="acme-callback-token-key\ncallback-token-key\n")
    assert [call.split()[2] for call in calls(tmp_path)] == ["list"]
    assert said == (
        "Set the secrets of your providers (stripe,weather) in kv-one as docs/deploy.md shows.\nexit 0"
    )


def test_another_secret_whose_name_ends_alike_is_not_the_token_key(tmp_path: Path) -> None:
    run(tmp_path, "postprovision.sh", names="acme-callback-token-key\n")
    assert [call.split()[2] for call in calls(tmp_path)] == ["list", "set"]


def test_a_vault_that_cannot_be_read_yet_is_tried_again_and_ends_no_provisioning(tmp_path: Path) -> None:
    said = run(tmp_path, "postprovision.sh", names=None)
    assert len(calls(tmp_path)) == 12
    assert said.startswith("The vault kv-one cannot be read")
    assert said.endswith("exit 0")


@pytest.mark.parametrize("pipeline", ["CI", "TF_BUILD"])
def test_a_pipeline_sets_no_secret(tmp_path: Path, pipeline: str) -> None:
    said = run(tmp_path, "postprovision.sh", **{pipeline: "true"})
    assert calls(tmp_path) == []
    assert said.endswith("exit 0")


def test_the_smoke_test_waits_for_both_probes(tmp_path: Path) -> None:
    said = run(tmp_path, "smoke.sh", "https://one.example", FAILURES="3")
    assert said == "live: 200\nready: 200\nexit 0"
    assert [call.split()[-1] for call in calls(tmp_path)] == [
        *["https://one.example/api/health/live"] * 3,
        "https://one.example/api/health/ready",
    ]


def test_the_smoke_test_fails_where_a_probe_never_answers(tmp_path: Path) -> None:
    assert run(tmp_path, "smoke.sh", "https://one.example", FAILURES="999") == "exit 1"
    assert len(calls(tmp_path)) == 20
