"""How the local host finds an app's functions, and what it refuses to serve."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.host.index import AppRefused, Http, ServiceBus, Timer, index
from dev.host.process import start
from dev.process import NotStarted

REFUSED = Path(__file__).resolve().parents[1] / "worker" / "refused"

HEAD = """
import azure.functions as func
app = func.FunctionApp()
"""


@pytest.fixture(autouse=True)
def _modules_kept() -> Iterator[None]:
    modules, places = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = places
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]


def write(folder: Path, text: str) -> Path:
    app = folder / "some_app.py"
    app.write_text(HEAD + text)
    return app


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ("list_annotation", "bad: message has the non-type annotation"),
        ("union_annotation", "bad: timer has the non-type annotation"),
        ("optional_annotation", "bad: req has the non-type annotation"),
        ("wrong_annotation", "bad: req cannot be"),
        ("parameter_mismatch", "bad: in Python but not in a decorator: clock"),
        ("parameter_missing", "bad: in a decorator but not in Python: timer"),
        ("context_annotation", "bad: the parameter context must be"),
        ("return_annotation", "bad: it cannot return"),
        ("return_union", "bad: it cannot return"),
        ("same_name", "Function one does not have a unique function name"),
        ("no_trigger", "no_trigger.py: "),
        ("two_apps", "must define one FunctionApp at its top level; it has 2"),
        ("no_app", "must define one FunctionApp at its top level; it has 0"),
        ("import_failure", "cannot be imported: ModuleNotFoundError"),
        ("good_beside_bad", "bad: in Python but not in a decorator: clock"),
    ],
)
def test_what_the_worker_refuses_is_refused_with_the_reason(app: str, reason: str) -> None:
    with pytest.raises(AppRefused) as refused:
        index(REFUSED / f"{app}.py")
    assert reason in str(refused.value)


def test_every_app_that_the_worker_refuses_is_in_the_list_above() -> None:
    assert len(list(REFUSED.glob("*.py"))) == 15


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            """
@app.service_bus_queue_trigger(arg_name="m", queue_name="q", connection="C")
def bad(m: func.ServiceBusMessage): ...
""",
            "bad: data_type must be BINARY",
        ),
        (
            """
from typing import List
@app.service_bus_queue_trigger(
    arg_name="m", queue_name="q", connection="C", data_type=func.DataType.BINARY, cardinality="many")
def bad(m: List[func.ServiceBusMessage]): ...
""",
            "bad: this host serves neither batches",
        ),
        (
            """
@app.service_bus_queue_trigger(
    arg_name="m", queue_name="q", connection="C", data_type=func.DataType.BINARY, is_sessions_enabled=True)
def bad(m: func.ServiceBusMessage): ...
""",
            "bad: this host serves neither batches",
        ),
        (
            """
@app.service_bus_queue_trigger(
    arg_name="m", queue_name="%NOT_SET%", connection="C", data_type=func.DataType.BINARY)
def bad(m: func.ServiceBusMessage): ...
""",
            "bad: the setting NOT_SET is not there",
        ),
        (
            """
@app.queue_trigger(arg_name="m", queue_name="q", connection="C")
def bad(m: func.QueueMessage): ...
""",
            "bad: this host serves no queueTrigger",
        ),
        (
            """
@app.route("a")
@app.queue_output(arg_name="out", queue_name="q", connection="C")
def bad(req: func.HttpRequest, out: func.Out[str]) -> str: ...
""",
            "bad: this host serves no queue binding",
        ),
        (
            """
@app.route("Admin/x")
def bad(req: func.HttpRequest) -> str: ...
""",
            "bad: the host keeps routes",
        ),
        (
            """
@app.function_name("bad name")
@app.route("a")
def bad(req: func.HttpRequest) -> str: ...
""",
            "bad name: a function's name",
        ),
        (
            """
@app.function_name("host")
@app.route("a")
def bad(req: func.HttpRequest) -> str: ...
""",
            "host: a function's name",
        ),
        (
            """
@app.route("Same/{x}", methods=["GET", "POST"])
def one(req: func.HttpRequest) -> str: ...
@app.route("same/{x}", methods=["POST"])
def two(req: func.HttpRequest) -> str: ...
""",
            "two: its route and method are those of one",
        ),
        ("", "some_app.py defines no function"),
    ],
    ids=[
        "a text body",
        "batches",
        "sessions",
        "a setting that is not there",
        "another trigger",
        "another binding",
        "a reserved route",
        "a name with a space",
        "a reserved name",
        "the same route and method",
        "no function",
    ],
)
def test_what_this_host_does_not_serve_is_refused_with_the_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(AppRefused) as refused:
        index(write(tmp_path, text), {})
    assert reason in str(refused.value)


def test_functions_come_in_the_order_of_their_names_with_what_wakes_them(tmp_path: Path) -> None:
    app = write(
        tmp_path,
        """
@app.timer_trigger(arg_name="t", schedule="%WHEN%", run_on_startup=True)
def Zulu(t: func.TimerRequest): ...
@app.route("jobs/{id}", methods=["get", "DELETE"], auth_level="anonymous")
async def alpha(req: func.HttpRequest, context: func.Context) -> func.HttpResponse: ...
@app.route()
async def Beta(req, context=None): ...
@app.service_bus_queue_trigger(arg_name="m", queue_name="%Q%-in", connection="C", data_type="binary")
def mike(m): ...
@app.service_bus_topic_trigger(
    arg_name="m", topic_name="t", subscription_name="s", connection="C", data_type="binary")
def november(m): ...
""",
    )
    found = index(app, {"WHEN": "0 * * * * *", "Q": "q"})
    assert [function.name for function in found] == ["alpha", "Beta", "mike", "november", "Zulu"]
    alpha, beta, mike, november, zulu = found
    assert isinstance(alpha.trigger, Http)
    assert (alpha.trigger.route, alpha.trigger.methods) == ("jobs/{id}", frozenset({"GET", "DELETE"}))
    assert alpha.trigger.level.value == "anonymous"
    assert (alpha.parameter, alpha.takes_context, alpha.returns) == ("req", True, True)
    assert isinstance(beta.trigger, Http)
    assert (beta.trigger.route, beta.trigger.methods, beta.trigger.level.value) == ("Beta", None, "function")
    assert mike.trigger == ServiceBus(connection="C", entity="q-in", subscription=None)
    assert (mike.takes_context, mike.returns) == (False, False)
    assert november.trigger == ServiceBus(connection="C", entity="t", subscription="s")
    assert zulu.trigger == Timer(schedule="0 * * * * *", run_on_startup=True)


def test_an_app_finds_its_own_modules_behind_all_others(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise AssertionError('not the one that was asked for')")
    (tmp_path / "beside.py").write_text("NAME = 'here'")
    app = write(
        tmp_path,
        """
import json, beside
@app.function_name(beside.NAME)
@app.route()
def found(req): ...
""",
    )
    assert [function.name for function in index(app)] == ["here"]
    assert sys.path[-1] == str(tmp_path)


def refusal(app: Path, folder: Path) -> str:
    with pytest.raises(NotStarted) as refused:
        start(app, log=folder / "log")
    return str(refused.value)


def test_a_refused_app_ends_the_host_with_the_reason(tmp_path: Path) -> None:
    told = refusal(REFUSED / "good_beside_bad.py", tmp_path)
    assert "ended with status 1" in told
    assert "cannot start: bad: in Python but not in a decorator: clock." in told
    assert "Traceback" not in told


def test_what_the_app_raised_at_import_is_told_with_its_place(tmp_path: Path) -> None:
    told = refusal(REFUSED / "import_failure.py", tmp_path)
    assert "cannot start: import_failure.py cannot be imported: ModuleNotFoundError" in told
    assert "import there_is_no_such_module" in told


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('@app.route("a/{b}c")\ndef bad(req): ...', "a/{b}c: this host does not read {b}c"),
        ('@app.route("a/{b:shoe}")\ndef bad(req): ...', "this host does not know the constraint shoe"),
        ('@app.route("a/{b?}/c")\ndef bad(req): ...', "parameter must come last"),
        ('@app.route("a/{b}/{B}")\ndef bad(req): ...', "a parameter comes twice"),
        ('@app.timer_trigger(arg_name="t", schedule="now")\ndef bad(t): ...', "now is no schedule"),
        (
            '@app.service_bus_queue_trigger(arg_name="m", queue_name="q", connection="NOT_SET",'
            ' data_type="binary")\ndef bad(m): ...',
            "bad: the setting NOT_SET is not there",
        ),
        (
            '@app.service_bus_queue_trigger(arg_name="m", queue_name="q", connection="PATH",'
            ' data_type="binary")\ndef bad(m): ...',
            "PATH is no Service Bus connection string",
        ),
    ],
    ids=[
        "a mixed segment",
        "an unknown constraint",
        "an optional parameter before others",
        "a parameter twice",
        "a schedule",
        "no connection",
        "no connection string",
    ],
)
def test_what_cannot_be_listened_for_ends_the_host_with_the_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    told = refusal(write(tmp_path, text), tmp_path)
    assert reason in told
    assert "Traceback" not in told


def test_a_port_that_is_taken_ends_the_host(tmp_path: Path) -> None:
    app = write(tmp_path, '@app.route("a")\ndef fine(req): ...')
    first = start(app, log=tmp_path / "first")
    try:
        with pytest.raises(NotStarted, match="address already in use"):
            start(app, log=tmp_path / "second", port=first.port)
    finally:
        first.stop()
