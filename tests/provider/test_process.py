"""A part of the local stack starts or says why not, and does not outlive who started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev.process import ROOT, NotStarted
from dev.provider.process import start
from dev.stack import PARTS, Ports, PortTaken
from tests.provider.conftest import SECRETS


def test_a_taken_port_is_named(log: Path) -> None:
    running = start(env=SECRETS, log=log)
    try:
        with pytest.raises(NotStarted, match=f"cannot listen on port {running.port}"):
            start(running.port, env=SECRETS, log=log.with_name("second.log"))
        with pytest.raises(PortTaken, match=rf"port {running.port} .*\n.*PROVIDER_PORT="):
            Ports(servicebus=0, servicebus_health=0, functions=0, provider=running.port).check(PARTS)
        Ports(provider=running.port, servicebus=0, servicebus_health=0).check(["servicebus"])
    finally:
        running.stop()


def test_missing_secrets_are_named_together(log: Path) -> None:
    with pytest.raises(NotStarted, match="set STRIPE_API_KEY, STANDARD_API_KEY in the environment"):
        start(env=SECRETS | {"STRIPE_API_KEY": "", "STANDARD_API_KEY": ""}, log=log)


def test_ports_are_chosen_by_environment_variables() -> None:
    assert Ports.chosen({"FUNCTIONS_PORT": "8071"}) == Ports(
        functions=8071, servicebus=5672, servicebus_health=5300, provider=9000
    )
    with pytest.raises(ValueError, match="PROVIDER_PORT must be a port"):
        Ports.chosen({"PROVIDER_PORT": "http"})


def test_a_part_ends_when_its_parent_is_killed(log: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from dev.provider.process import start;"
        "print(start(log=Path(sys.argv[1])).process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(log)], cwd=ROOT, env=os.environ | SECRETS, stdout=subprocess.PIPE
    )
    assert parent.stdout
    with parent.stdout:
        child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while _lives(child):
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    """Tell whether a process runs; one that has ended may still wait for somebody to note it."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
