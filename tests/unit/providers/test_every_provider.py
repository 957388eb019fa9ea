"""What holds for each provider, whatever its third party sends: a value or NotUnderstood; nothing else."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import NotUnderstood
from services.messages import callback_event
from services.models import Delivery, HttpAnswer
from services.providers import BUILT_IN, built_in, providers
from services.providers.base import Operation, Provider
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


def samples(name: str) -> list[Any]:
    files = sorted((HERE / FOLDERS.get(name, name)).glob("*.json"))
    return [json.loads(file.read_bytes()) for file in files if file.name != "cases.json"]


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in inner for path in paths(item, (*at, key)))]


def spoiled(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = spoiled(copied[path[0]], path[1:], new)
    return copied


def delivered(body: bytes, message_id: str = "msg_1") -> Delivery:
    headers = {"webhook-id": message_id}
    return Delivery(method="POST", url="https://x.example/", headers=headers, body=body, received_at=NOW)


def read(provider: Provider, body: bytes, message_id: str = "msg_1") -> None:
    with contextlib.suppress(NotUnderstood):
        for callback in provider.read(delivered(body, message_id)):
            event = callback_event(provider.name, callback, address="", received_at=NOW, traceparent=None)
            json.dumps(event.data, allow_nan=False, ensure_ascii=False).encode()


def read_answers(provider: Provider, body: bytes) -> None:
    for operation in provider.operations.values():
        with contextlib.suppress(NotUnderstood):
            operation.read_start(HttpAnswer(status=200, body=body))
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
    for operation in EVERY[name].operations.values():
        with pytest.raises(NotUnderstood):
            operation.read_start(HttpAnswer(status=200, body=body))
    assert EVERY[name].refusal(HttpAnswer(status=400, body=body)).message == "the provider answered 400"


@each_provider
@given(data=st.data())
def test_a_sample_with_any_part_spoiled_is_read_or_not_understood(name: str, data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(samples(name)))
    for _ in range(data.draw(st.integers(1, 3))):
        value = spoiled(value, data.draw(st.sampled_from(paths(value))), data.draw(anything))
    body = json.dumps(value).encode()
    read(EVERY[name], body)
    read_answers(EVERY[name], body)


@each_provider
@given(body=st.binary(max_size=60) | anything.map(lambda value: json.dumps(value).encode()), text=st.text())
def test_any_bytes_and_any_id_are_read_or_not_understood(name: str, body: bytes, text: str) -> None:
    read(EVERY[name], body, text)
    read_answers(EVERY[name], body)


@each_provider
def test_its_samples_are_understood(name: str) -> None:
    assert samples(name)
    for value in samples(name):
        body = json.dumps(value).encode()
        if EVERY[name].scheme:
            assert EVERY[name].read(delivered(body))
        else:
            (operation,) = EVERY[name].operations.values()
            assert operation.read_start(HttpAnswer(status=200, body=body)).result


@pytest.mark.parametrize(("provider", "operation"), OPERATIONS)
def test_its_input_is_described_for_callers(provider: Provider, operation: Operation) -> None:
    schema = operation.input.model_json_schema()
    assert schema["type"] == "object"
    assert provider.name == "acme" or schema["additionalProperties"] is False


@each_provider
def test_it_names_its_secrets_as_the_vault_takes_them(name: str) -> None:
    provider = EVERY[name]
    names = [one for one in (provider.api_key, provider.signing_secret) if one]
    assert all(one.replace("-", "").isalnum() and one.startswith(name) for one in names)
    assert provider.documentation.startswith("https://")
