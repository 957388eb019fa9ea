"""Mutated samples against all that reads what providers send: a value, or NotUnderstood; nothing else.

Callbacks, answers to starts and polls, refusals, access tokens, and handshakes, which may say NotVerified.
What a callback says can be written to the bus, and read from there again.

    python -m tests.fuzz.fuzz_providers -max_total_time=60
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["services", "python_multipart"]):
    from services.errors import NotSent, NotUnderstood, NotVerified
    from services.handshakes import HANDSHAKES
    from services.messages import CallbackRead, callback_event, event_message, read_inbox
    from services.models import Delivery, HttpAnswer
    from services.providers import BUILT_IN, built_in, providers
    from services.providers.base import Handshake, Provider

from tests.fuzz.wire import Input, fuzz, written
from tests.unit.signatures.material import NOW
from tests.unit.test_handshakes import EXAMPLES
from tests.vectors.cases import HERE

OPTIONS = {"start_url": "https://a.example", "job_id_field": "job", "result_fields": "a,b"}
PROVIDERS: dict[str, Provider] = {
    **{name: built_in(name) for name in BUILT_IN},
    **providers(["standard"], {"standard": OPTIONS}),
}
CONTENT_TYPES = {
    ".json": "application/json",
    ".form": "application/x-www-form-urlencoded",
    ".multipart": "multipart/form-data; boundary=sample",
}
TOKEN = b'{"access_token":"A21AAF","token_type":"Bearer","expires_in":32400}'
Reader = Callable[[Input], None]


def of_callbacks(provider: Provider) -> Reader:
    def take(given: Input) -> None:
        for callback in provider.read(given.delivery()):
            event = callback_event(provider.name, callback, address="", received_at=NOW, traceparent=None)
            again = read_inbox(event_message(event))
            assert isinstance(again, CallbackRead)
            assert again.callback is not None
            assert again.callback.status is callback.status

    return take


def of_answers(read: Callable[[HttpAnswer], object]) -> Reader:
    def take(given: Input) -> None:
        assert read(HttpAnswer(status=200 + given.second, headers=given.headers, body=given.body))

    return take


def of_starts(read: Callable[[HttpAnswer], object]) -> Reader:
    def take(given: Input) -> None:
        with contextlib.suppress(NotSent):  # a 2xx that says to come back later
            of_answers(read)(given)

    return take


def of_handshakes(handshake: Handshake) -> Reader:
    def take(given: Input) -> None:
        with contextlib.suppress(NotVerified):
            shaken = handshake.answer(given.delivery(), ("the-secret-of-now", "the-secret-of-before"))
            assert shaken is None or len(shaken.answer.body) < 9000

    return take


def readers() -> Iterator[tuple[str, Reader]]:
    """Each reader, behind the pattern of its samples' names."""
    for name, provider in PROVIDERS.items():
        yield f"{name}/callback.*", of_callbacks(provider)
        yield f"{name}/start.*", of_answers(provider.refusal)
        if provider.access:
            yield "access", of_answers(provider.access.read)
        for operation in provider.operations.values():
            yield f"{name}/[ps]*", of_starts(operation.read_start)
            for read in (operation.read_poll, operation.read_duplicate):
                if read:
                    yield f"{name}/[ps]*", of_answers(read)
    for handshake in HANDSHAKES.values():
        yield "handshake", of_handshakes(handshake)


READERS = list(readers())


def take(given: Input) -> None:
    with contextlib.suppress(NotUnderstood):
        READERS[given.first % len(READERS)][1](given)


def seeds() -> Iterator[bytes]:
    for first, (pattern, _) in enumerate(READERS):
        if pattern == "handshake":
            for example in EXAMPLES.values():
                yield written(first, 0, example.request)
        elif pattern == "access":
            yield written(first, 0, delivered(TOKEN, {}))
        else:
            for path in sorted(HERE.glob(pattern)):
                yield written(first, 0, sample(path))
                yield written(first, 200, sample(path))


def sample(path: Path) -> Delivery:
    if path.suffix == ".head":  # the headers of an answer that has no body
        lines = (line.partition(": ") for line in path.read_text().splitlines())
        return delivered(b"", {name.lower(): value for name, _, value in lines})
    headers = {"content-type": CONTENT_TYPES[path.suffix], "webhook-id": "msg_1"}
    return delivered(path.read_bytes(), headers)


def delivered(body: bytes, headers: dict[str, str]) -> Delivery:
    return Delivery(method="POST", url="https://x.example/", headers=headers, body=body, received_at=NOW)


if __name__ == "__main__":
    fuzz("providers", take, seeds())
