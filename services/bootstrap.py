"""Puts the parts together: reads the environment, chooses an adapter for each port, builds the use cases.

The one module that knows all the others. Azure's SDKs are imported where they are chosen, so that a cold
start pays only for what this deployment uses; clients are opened on their first use, inside the running loop.
"""

import asyncio
import logging
import random
import secrets as randomness
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from services import tokens
from services.access import Credentials
from services.adapters.clock import SystemClock
from services.adapters.environment import EnvironmentSecrets, variable
from services.adapters.http import HttpxSender
from services.adapters.logs import show_fields
from services.advance import AdvanceJob
from services.api import Api
from services.attempt import Attempt
from services.audit import Audit
from services.doctor import Doctor, is_handed_over, secrets_needed
from services.errors import OperatorError
from services.jobs import Jobs
from services.keys import Keys
from services.operator import BindOrphans, ReplayDeliveries, ReviveDeadLetters
from services.outbox import Outbox
from services.pace import Paces
from services.ports import DeadLetters, JobStore, MessageBus, PayloadStore, SecretSource
from services.providers import providers
from services.providers.base import CallbackAddress, Provider
from services.receive import ReceiveWebhook, needs_token
from services.secrets import Secrets
from services.settings import Settings, provider_names, provider_options, read_settings
from services.start import StartJob

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential

TOPIC = "job-events"
QUEUE = "job-inbox"
INBOX = f"{TOPIC}/inbox"
"""The subscription that forwards to the queue; what it cannot forward is a dead letter of its own."""
JOBS_TABLE = "jobs"
PAYLOADS_CONTAINER = "hookbus"


@runtime_checkable
class _Closable(Protocol):
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hookbus:
    """The service, ready to be called."""

    api: Api
    advance: AdvanceJob
    audit: Audit
    outbox: Outbox
    receive: ReceiveWebhook
    dead_letters: ReviveDeadLetters
    deliveries: ReplayDeliveries
    orphans: BindOrphans
    doctor: Doctor
    parts: Sequence[object]

    async def close(self) -> None:
        """Close what has connections, for a process that ends in order; nothing works afterwards."""
        closing = [part.close() for part in self.parts if isinstance(part, _Closable)]
        await asyncio.gather(*closing, return_exceptions=True)

    async def tidy(self) -> None:
        """Publish what was spooled, and delete kept deliveries that are past their time."""
        await self.outbox.drain()
        await self.receive.prune()

    async def address(self, name: str) -> str:
        """Return the callback address that is set up once at a provider, with our token where it needs one.

        Raises OperatorError for a provider that has no such address.
        """
        provider = self.receive.providers.get(name)
        if provider is None or provider.callback_address is not CallbackAddress.ACCOUNT:
            raise OperatorError(f"{name} has no address to set up: it is not in PROVIDERS, or gets one a job")
        address = f"{self.api.public_url}/api/webhooks/{name}"
        if not (needs_token(provider) or is_handed_over(provider)):
            return address
        key = await self.receive.secrets.newest(tokens.KEY_NAME)
        return f"{address}/{tokens.mint(tokens.Token(provider=name), key)}"


def build(values: Mapping[str, str]) -> Hookbus:
    """Build the service from settings; raises OperatorError that names all that is to be mended."""
    show_fields()
    for chatty in ("azure", "httpx"):  # at INFO they log every request's address
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings, registry = _read(values)
    clock, sender = SystemClock(), HttpxSender()
    identity = _Identity()
    bus, letters = _bus(settings, identity)
    payloads, source = _payload_store(settings, identity), _secret_source(settings, values, identity)
    secrets = Secrets(source=source, clock=clock)
    outbox = Outbox(bus=bus, payloads=payloads, clock=clock)
    store = _job_store(settings, identity)
    jobs = Jobs(
        store=store,
        bus=bus,
        payloads=payloads,
        outbox=outbox,
        attempt=Attempt(
            providers=registry,
            secrets=secrets,
            credentials=Credentials(secrets=secrets, sender=sender, clock=clock),
            sender=sender,
            clock=clock,
            public_url=settings.public_url,
        ),
        paces=Paces(store=store, clock=clock, chance=random.random),
        clock=clock,
        chance=random.random,
        new_id=lambda: randomness.token_bytes(20),
    )
    receive = ReceiveWebhook(
        providers=registry,
        secrets=secrets,
        keys=Keys(secrets=secrets, sender=sender, clock=clock),
        outbox=outbox,
        payloads=payloads,
        sender=sender,
        clock=clock,
        max_bytes=settings.max_webhook_bytes,
        keep_all=settings.keep_deliveries,
        keep_for=settings.keep_deliveries_for,
        hops=settings.forwarded_hops,
    )
    return Hookbus(
        api=Api(
            start=StartJob(jobs=jobs),
            receive=receive,
            public_url=settings.public_url,
            max_request_bytes=settings.max_request_bytes,
            health_key=settings.health_key,
        ),
        advance=AdvanceJob(jobs=jobs, payloads=payloads),
        audit=Audit(jobs=jobs),
        outbox=outbox,
        receive=receive,
        dead_letters=ReviveDeadLetters(
            letters=letters,
            bus=bus,
            clock=clock,
            topic=TOPIC,
            queue=QUEUE,
            replayable=(QUEUE, INBOX),
        ),
        deliveries=ReplayDeliveries(receive=receive),
        orphans=BindOrphans(jobs=jobs),
        doctor=Doctor(
            providers=registry,
            source=source,
            store=store,
            payloads=payloads,
            bus=bus,
            sender=sender,
            clock=clock,
            public_url=settings.public_url,
        ),
        parts=(bus, payloads, store, source, sender, identity),
    )


def _read(values: Mapping[str, str]) -> tuple[Settings, Mapping[str, Provider]]:
    problems: list[str] = []
    settings: Settings | None = None
    registry: Mapping[str, Provider] = {}
    try:
        settings = read_settings(values)
    except OperatorError as error:
        problems.append(str(error))
    try:
        registry = providers(provider_names(values), provider_options(values))
    except OperatorError as error:
        problems.append(str(error))
    if values.get("SECRET_SOURCE", "").strip() == "environment":
        problems += _wrong_secrets(registry, values)
    if settings is None or problems:
        raise OperatorError("\n".join(problems))
    return settings, registry


def _wrong_secrets(registry: Mapping[str, Provider], values: Mapping[str, str]) -> list[str]:
    problems: list[str] = []
    for need in secrets_needed(registry.values()):
        value = values.get(variable(need.name), "")
        if not value.strip():
            if not (need.later and not value):
                problems.append(f"{variable(need.name)} is missing: {need.meaning}")
        elif not need.usable(value):
            problems.append(f"{variable(need.name)} cannot be used as it is: {need.meaning}")
    return problems


@contextmanager
def _named(setting: str) -> Iterator[None]:
    """Name the setting that an SDK cannot read; its own words may show what is secret."""
    try:
        yield
    except ValueError:
        raise OperatorError(f"{setting} must be a connection string as Azure shows it") from None


class _Identity:
    """The credential of this process, made when something is reached with it."""

    @cached_property
    def credential(self) -> "DefaultAzureCredential":
        from azure.identity.aio import DefaultAzureCredential

        return DefaultAzureCredential()

    async def close(self) -> None:
        if "credential" in vars(self):
            await self.credential.close()


def _job_store(settings: Settings, identity: _Identity) -> JobStore:
    if settings.job_store.startswith("sqlite:"):
        from services.adapters.sqlite import SqliteJobStore

        return SqliteJobStore(Path(settings.job_store.removeprefix("sqlite:")))
    # A client of its own, and none of a service's client: only then does closing it close the connections.
    from azure.data.tables.aio import TableClient

    from services.adapters.tables import TablesJobStore

    if settings.job_store.startswith("https://"):
        table = TableClient(settings.job_store, JOBS_TABLE, credential=identity.credential)
    else:
        with _named("JOB_STORE"):
            table = TableClient.from_connection_string(settings.job_store, JOBS_TABLE)
    return TablesJobStore(table)


def _payload_store(settings: Settings, identity: _Identity) -> PayloadStore:
    if settings.payload_store.startswith("file:"):
        from services.adapters.directory import DirectoryPayloads

        return DirectoryPayloads(Path(settings.payload_store.removeprefix("file:")))
    from azure.storage.blob.aio import ContainerClient

    from services.adapters.blobs import BlobPayloads

    if settings.payload_store.startswith("https://"):
        container = ContainerClient(settings.payload_store, PAYLOADS_CONTAINER, identity.credential)
    else:
        with _named("PAYLOAD_STORE"):
            container = ContainerClient.from_connection_string(settings.payload_store, PAYLOADS_CONTAINER)
    return BlobPayloads(container)


def _bus(settings: Settings, identity: _Identity) -> tuple[MessageBus, DeadLetters]:
    from azure.servicebus import parse_connection_string
    from azure.servicebus.aio import ServiceBusClient

    from services.adapters.deadletters import ServiceBusDeadLetters
    from services.adapters.servicebus import ServiceBusBus

    if settings.servicebus:
        with _named("SERVICEBUS"):
            parse_connection_string(settings.servicebus)

    def connect() -> ServiceBusClient:
        # No retries inside the SDK: what a send cannot do within its budget, the spool does.
        if settings.servicebus:
            return ServiceBusClient.from_connection_string(settings.servicebus, retry_total=0)
        return ServiceBusClient(settings.servicebus_namespace, identity.credential, retry_total=0)

    return ServiceBusBus(connect, topic=TOPIC, queue=QUEUE), ServiceBusDeadLetters(connect)


def _secret_source(settings: Settings, values: Mapping[str, str], identity: _Identity) -> SecretSource:
    if settings.secret_source == "environment":
        return EnvironmentSecrets(values)
    from azure.keyvault.secrets.aio import SecretClient

    from services.adapters.keyvault import KeyVaultSecrets

    return KeyVaultSecrets(SecretClient(settings.secret_source, identity.credential), SystemClock())
