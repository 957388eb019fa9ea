"""One emulator for all contract tests; each test has entities of its own, so that none sees another's."""

import asyncio
import inspect
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusClient
from azure.servicebus.aio import ServiceBusClient as AioClient

from dev.servicebus.process import Running, start

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"MaxDeliveryCount": 10},
    "short": {"LockDuration": "PT1S", "MaxDeliveryCount": 2},
    "lasting": {"LockDuration": "PT3S"},
    "talk": {"RequiresSession": True, "MaxDeliveryCount": 10},
    "brief": {"RequiresSession": True, "LockDuration": "PT2S", "MaxDeliveryCount": 10},
    "once": {"RequiresDuplicateDetection": True, "DuplicateDetectionHistoryTimeWindow": "PT5M"},
    "mortal": {"DeadLetteringOnMessageExpiration": True, "DefaultMessageTimeToLive": "PT1S"},
}
EACH = 200


def rule(name: str, **wanted: Any) -> dict[str, Any]:
    return {"Name": name, "Properties": {"FilterType": "Correlation", "CorrelationFilter": wanted}}


def acting(name: str, text: str, changes: str) -> dict[str, Any]:
    sql = {"FilterType": "Sql", "SqlFilter": {"SqlExpression": text}, "Action": {"SqlExpression": changes}}
    return {"Name": name, "Properties": sql}


def topic(number: int) -> dict[str, Any]:
    subscriptions: list[dict[str, Any]] = [
        {"Name": "all"},
        {"Name": "red", "Rules": [rule("red", Properties={"colour": "red"})]},
        {
            "Name": "either",
            "Rules": [rule("by-colour", Properties={"colour": "red"}), rule("by-subject", Label="news")],
        },
        {
            "Name": "onward",
            "Properties": {"ForwardTo": f"target-{number}"},
            "Rules": [rule("forwarded", Properties={"forward": True})],
        },
        {
            "Name": "doubled",
            "Rules": [acting("big", "size > 10 AND sys.Label LIKE 'b%'", "SET size = size * 2")],
        },
        {"Name": "talks", "Properties": {"RequiresSession": True}, "Rules": [rule("talk", Label="talk")]},
        {"Name": "buried", "Properties": {"ForwardDeadLetteredMessagesTo": f"graves-{number}"}},
    ]
    return {"Name": f"topic-{number}", "Subscriptions": subscriptions}


def config() -> dict[str, Any]:
    queues: list[dict[str, Any]] = [
        {"Name": f"{kind}-{number}", "Properties": properties}
        for kind, properties in KINDS.items()
        for number in range(EACH)
    ]
    queues += [
        {"Name": f"target-{number}", "Properties": {"RequiresDuplicateDetection": True}}
        for number in range(EACH)
    ]
    queues.append({"Name": "always-empty"})
    queues += [{"Name": f"graves-{number}"} for number in range(EACH)]
    topics = [topic(number) for number in range(EACH)]
    namespace = {"Name": "sbemulatorns", "Queues": queues, "Topics": topics}
    return {"UserConfig": {"Namespaces": [namespace], "Logging": {"Type": "Console"}}}


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("servicebus") / "Config.json"
    path.write_text(json.dumps(config()))
    return path


@pytest.fixture(scope="session")
def emulator(config_file: Path) -> Iterator[Running]:
    with start(config_file) as running:
        yield running


@pytest.fixture(scope="session")
def emulators(emulator: Running) -> dict[str, Running]:
    """Name the emulator of each SDK, for tests that run on both: it is the same, where that does no harm."""
    return {"aio": emulator, "sync": emulator}


_numbers = {kind: itertools.count() for kind in (*KINDS, "topic")}


@pytest.fixture(scope="session")
def fresh() -> Callable[[str], str]:
    """Name an entity of a kind that no other test uses."""
    return lambda kind: f"{kind}-{next(_numbers[kind])}"


class Threaded:
    """A blocking SDK object with every method awaitable, so that one scenario runs on both SDKs."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.real, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return call


class Bus:
    """A client of one of the two SDKs; closes everything at once, as each close takes half a second."""

    def __init__(self, kind: str, emulator: Running, **options: Any) -> None:
        self.emulator = emulator
        self._kind = kind
        self._aio = kind == "aio"
        client: Any = AioClient if self._aio else ServiceBusClient
        self._client = client.from_connection_string(
            emulator.connection_string, **{"retry_total": 0, **options}
        )
        self._opened: list[Any] = []

    def patient(self) -> "Bus":
        """Connect once more, with an SDK that tries again."""
        other = Bus(self._kind, self.emulator, retry_total=4, retry_backoff_factor=0.1)
        self._opened.append(other)
        return other

    def _keep(self, real: Any) -> Any:
        kept = real if self._aio else Threaded(real)
        self._opened.append(kept)
        return kept

    def sender(self, name: str) -> Any:
        topic = name.startswith("topic")
        return self._keep(
            self._client.get_topic_sender(name) if topic else self._client.get_queue_sender(name)
        )

    def receiver(self, name: str, **options: Any) -> Any:
        topic, _, subscription = name.partition("/")
        if subscription:
            return self._keep(self._client.get_subscription_receiver(topic, subscription, **options))
        return self._keep(self._client.get_queue_receiver(name, **options))

    async def sessions(self, queue: str, **options: Any) -> list[str]:
        found = self._client.list_queue_sessions(queue, **options)
        return [one async for one in found] if self._aio else await asyncio.to_thread(list, found)

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in self._opened))
        if self._aio:
            await self._client.close()
        else:
            await asyncio.to_thread(self._client.close)


_closing: list["asyncio.Task[None]"] = []


async def all_closed() -> None:
    await asyncio.gather(*_closing)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def closing(emulator: Running) -> AsyncIterator[None]:
    """Wait for all clients to close at the end: nobody has to wait for each."""
    yield
    await all_closed()


def on_both_sdks(scenario: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Run a scenario with the async and the blocking SDK at once; its `bus` is one, then the other."""

    async def with_sdk(kind: str, emulator: Running, others: dict[str, Any]) -> None:
        bus = Bus(kind, emulator)
        try:
            await scenario(bus=bus, **others)
        except BaseException as error:
            error.add_note(f"with the {kind} SDK")
            raise
        finally:
            _closing.append(asyncio.create_task(bus.close()))

    @pytest.mark.asyncio(loop_scope="session")
    @pytest.mark.usefixtures("closing")
    async def test(emulators: dict[str, Running], **others: Any) -> None:
        runs = (with_sdk(kind, emulator, others) for kind, emulator in emulators.items())
        for failure in await asyncio.gather(*runs, return_exceptions=True):
            if failure is not None:
                raise failure

    signature = inspect.signature(scenario)
    others = [parameter for name, parameter in signature.parameters.items() if name != "bus"]
    first = inspect.Parameter("emulators", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    test.__name__ = scenario.__name__
    test.__signature__ = signature.replace(parameters=[first, *others])
    return cast("Callable[..., Awaitable[None]]", test)
