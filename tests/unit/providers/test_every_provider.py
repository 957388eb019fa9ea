"""What holds for each provider, whatever its third party sends: a value or NotUnderstood; nothing else."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.process import ROOT
from services.errors import NotSent, NotUnderstood
from services.messages import callback_event
from services.models import Callback, Delivery, HttpAnswer
from services.providers import BUILT_IN, built_in, providers
from services.providers.base import Completion, Operation, Provider, Started
from tests.vectors.cases import HERE

NOW = datetime(2026, 11, 23, tzinfo=UTC)
EVERY: dict[str, Provider] = {
    **{name: built_in(name) for name in BUILT_IN},
    **providers(
        ["acme"], {"acme": {"start_url": "https://a.example", "job_id_field": "job", "result_fields": "a,b"}}
    ),
}
FOLDERS = {"acme": "standard"}
OPERATIONS = [
    pytest.param(provider, operation, id=f"{name}-{kind}")
    for name, provider in EVERY.items()
    for kind, operation in provider.operations.items()
]
each_provider = pytest.mark.parametrize("name", EVERY)
each_built_in = pytest.mark.parametrize("name", BUILT_IN)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**18, 10**40),
    st.floats(allow_nan=False),
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from(
        ["event", "succeeded", "failed", "payment_intent.succeeded", "2026-01-01T00:00:00Z", "é" * 300]
    ),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a sample is written."""

    content_type: str
    opened: Callable[[bytes], Any]
    closed: Callable[[Any], bytes]


def opened_parts(body: bytes) -> dict[str, Any]:
    """The fields of a multipart form with the boundary `sample`; a field whose text is JSON is opened too."""
    found = {}
    for part in body.decode().split("--sample")[1:-1]:
        head, _, text = part.removesuffix("\r\n").partition("\r\n\r\n")
        found[head.split('"')[1]] = json.loads(text) if text.startswith("{") else text
    return found


def closed_parts(value: Any) -> bytes:
    fields = value if isinstance(value, dict) else {}
    parts = [
        f'--sample\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        f"{text if isinstance(text, str) else json.dumps(text)}\r\n"
        for name, text in fields.items()
    ]
    return "".join([*parts, "--sample--\r\n"]).encode(errors="replace")


FORMS = {
    "json": Form(
        content_type="application/json",
        opened=json.loads,
        closed=lambda value: json.dumps(value).encode(),
    ),
    "form": Form(
        content_type="application/x-www-form-urlencoded",
        opened=lambda body: dict(parse_qsl(body.decode(), keep_blank_values=True)),
        closed=lambda value: urlencode(value if isinstance(value, dict) else {}, errors="replace").encode(),
    ),
    "multipart": Form(
        content_type="multipart/form-data; boundary=sample", opened=opened_parts, closed=closed_parts
    ),
    # The headers of an answer that has no body.
    "head": Form(
        content_type="text/plain",
        opened=lambda body: dict(line.split(": ", 1) for line in body.decode().splitlines() if ": " in line),
        closed=lambda value: "\n".join(
            f"{name}: {text}" for name, text in (value if isinstance(value, dict) else {}).items()
        ).encode(errors="replace"),
    ),
}
"""By the suffix of a sample's file."""


ANSWERS = ("start", "poll", "find")


def samples(name: str, kind: str = "") -> list[tuple[str, bytes]]:
    """The form and the bytes of each sample: answers to `start` and `poll`, and bodies of a `callback`."""
    files = sorted((HERE / FOLDERS.get(name, name)).glob(f"{kind}*"))
    return [(file.suffix.removeprefix("."), file.read_bytes()) for file in files]


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in inner for path in paths(item, (*at, key)))]


def spoiled(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = spoiled(copied[path[0]], path[1:], new)
    return copied


def delivered(body: bytes, message_id: str = "msg_1", form: str = "json") -> Delivery:
    headers = {
        "webhook-id": message_id,
        "paypal-transmission-id": message_id,
        "content-type": FORMS[form].content_type,
    }
    return Delivery(method="POST", url="https://x.example/", headers=headers, body=body, received_at=NOW)


def answered(body: bytes, form: str = "json") -> HttpAnswer:
    if form == "head":
        return HttpAnswer(status=200, headers=FORMS[form].opened(body))
    return HttpAnswer(status=200, body=body)


def answer_readers(provider: Provider, kind: str) -> list[Callable[[HttpAnswer], Started]]:
    operations = provider.operations.values()
    found = [
        {"start": one.read_start, "poll": one.read_poll, "find": one.read_find}[kind] for one in operations
    ]
    return [one for one in found if one]


def read(provider: Provider, body: bytes, message_id: str = "msg_1", form: str = "json") -> None:
    with contextlib.suppress(NotUnderstood):
        for callback in provider.read(delivered(body, message_id, form)):
            event = callback_event(provider.name, callback, address="", received_at=NOW, traceparent=None)
            json.dumps(event.data, allow_nan=False, ensure_ascii=False).encode()


def read_answers(provider: Provider, body: bytes, form: str = "json") -> None:
    for read_answer in (one for kind in ANSWERS for one in answer_readers(provider, kind)):
        with contextlib.suppress(NotSent, NotUnderstood):
            read_answer(answered(body, form))
    assert provider.refusal(HttpAnswer(status=400, body=body)).message


HOSTILE = {
    "empty": b"",
    "no-utf-8": b"\xff\xfe\x00",
    "utf-16": '{"id":"x"}'.encode("utf-16"),
    "bom": b'\xef\xbb\xbf{"id":"x"}',
    "null": b"null",
    "list": b"[{}]",
    "text": b'"id"',
    "number": b"7",
    "nan": b'{"id":NaN}',
    "infinity": b'{"id":-Infinity}',
    "huge-float": b'{"id":1e999}',
    "huge-integer": b'{"id":' + b"9" * 5000 + b"}",
    "name-twice": b'{"id":"a","id":"b"}',
    "name-twice-inside": b'{"id":"a","x":{"y":1,"y":2}}',
    "nested-65": b'{"id":' + b"[" * 64 + b"]" * 64 + b"}",
    "nested-100000": b"[" * 100_000,
    "nested-objects": b'{"a":' * 100_000,
    "cut": b'{"id":"x"',
    "trailing": b'{"id":"x"} {}',
}


@each_provider
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_body_that_is_no_plain_json_object_is_not_understood(name: str, body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        EVERY[name].read(delivered(body))
    for read_answer in (*answer_readers(EVERY[name], "start"), *answer_readers(EVERY[name], "poll")):
        with pytest.raises(NotUnderstood):
            read_answer(HttpAnswer(status=200, body=body))
    assert EVERY[name].refusal(HttpAnswer(status=400, body=body)).message == "the provider answered 400"


@each_provider
@given(data=st.data())
def test_a_sample_with_any_part_spoiled_is_read_or_not_understood(name: str, data: st.DataObject) -> None:
    form, body = data.draw(st.sampled_from(samples(name)))
    value = FORMS[form].opened(body)
    for _ in range(data.draw(st.integers(1, 3))):
        value = spoiled(value, data.draw(st.sampled_from(paths(value))), data.draw(anything))
    body = FORMS[form].closed(value)
    read(EVERY[name], body, form=form)
    read_answers(EVERY[name], body, form)


@each_provider
@given(body=st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()), text=st.text())
def test_any_bytes_and_any_id_are_read_or_not_understood(name: str, body: bytes, text: str) -> None:
    read(EVERY[name], body, text)
    read_answers(EVERY[name], body)


@each_provider
@pytest.mark.parametrize("kind", ["start", "poll"])
def test_its_answers_are_understood(name: str, kind: str) -> None:
    readers = answer_readers(EVERY[name], kind)
    assert bool(samples(name, kind)) == bool(readers)
    for form, body in samples(name, kind):
        told: list[Started | NotSent] = []
        for read_answer in readers:
            try:
                told.append(read_answer(answered(body, form)))
            except NotSent as error:
                told.append(error)
            except NotUnderstood:
                continue
        assert told


@each_provider
def test_its_callbacks_are_understood(name: str) -> None:
    calls_back = EVERY[name].completion is Completion.WEBHOOK
    assert bool(samples(name, "callback")) == calls_back
    for form, body in samples(name, "callback"):
        assert EVERY[name].read(delivered(body, form=form))


def external_ids(provider: Provider, file: Path) -> set[str]:
    """The ids by which a sample tells of jobs, to each reader that understands it."""
    kind, form, body = file.name.partition(".")[0], file.suffix.removeprefix("."), file.read_bytes()
    told: list[Callback | Started] = []
    if kind == "callback":
        told.extend(provider.read(delivered(body, form=form)))
    for read_answer in answer_readers(provider, kind) if kind in ANSWERS else ():
        with contextlib.suppress(NotSent, NotUnderstood):
            told.append(read_answer(answered(body, form)))
    return {one.external_id for one in told if one.external_id}


@each_built_in
def test_its_samples_tell_of_one_job_of_each_operation(name: str) -> None:
    files = defaultdict(set)
    for file in (HERE / name).iterdir():
        for external_id in external_ids(EVERY[name], file):
            files[external_id].add(file.name)
    assert len(files) <= len(EVERY[name].operations), (
        f"write one external id into all samples of an operation in tests/vectors/{name}: {dict(files)}"
    )


@each_built_in
def test_no_question_about_it_is_left_open(name: str) -> None:
    lines = (ROOT / f"services/providers/{name}.py").read_text().splitlines()
    left = [f"line {number}: {line.strip()}" for number, line in enumerate(lines, 1) if "Q: " in line]
    assert not left, "\n".join(
        [
            f"answer what services/providers/{name}.py asks, and delete the questions "
            "(docs/adding-a-provider.md, step 3):",
            *left,
        ]
    )


@pytest.mark.parametrize(("provider", "operation"), OPERATIONS)
def test_its_input_is_described_for_callers(provider: Provider, operation: Operation) -> None:
    schema = operation.input.model_json_schema()
    assert schema["type"] == "object"
    assert provider.name == "acme" or schema["additionalProperties"] is False


@each_provider
def test_it_names_its_secrets_as_the_vault_takes_them(name: str) -> None:
    provider = EVERY[name]
    names = [one for one in (provider.api_key, provider.signing_secret) if one]
    assert all(one.replace("-", "").isalnum() and one.startswith(name.replace("_", "-")) for one in names)
    assert provider.documentation.startswith("https://")
