"""The operator's commands as processes, beside a stack that runs."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from os import environ
from pathlib import Path

import pytest
from azure.data.tables.aio import TableClient
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from dev import azurite
from dev.process import ROOT
from dev.stack import Ports, Stack, read_settings, running
from services.adapters.directory import DirectoryPayloads
from services.messages import callback_event, event_data, event_message
from services.models import Callback, Delivery, Status
from services.providers.stripe import PROVIDER as STRIPE
from tests.stack.conftest import Client, Consumer
from tests.stack.test_stack import PREDICTION

PATIENCE = 60.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str


async def command(settings: dict[str, str], *arguments: str) -> Ended:
    """Run a command; whatever goes well is silent on standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error::ResourceWarning", "-m", "services", *arguments),
        cwd=ROOT,
        env={**environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that keeps deliveries."""
    settings = json.loads((ROOT / "local.settings.json.example").read_text())
    settings["Values"]["KEEP_DELIVERIES"] = "true"
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    with running(tmp_path, Ports.free(), path) as one:
        yield one


async def slow_job(client: Client) -> str:
    """Start a job whose callback does not come."""
    await client.turn(provider="replicate", latency=600)
    job_id = (await client.start("replicate", PREDICTION)).json()["id"]
    assert isinstance(job_id, str)
    return job_id


def succeeded(job_id: str | None) -> Callback:
    return Callback(
        event_id="evt_1",
        event_type="prediction.succeeded",
        status=Status.SUCCEEDED,
        operation="prediction",
        job_id=job_id,
        result={"output": ["made by hand"]},
    )


async def test_dead_letters_are_listed_without_their_bodies_and_sent_again(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    job_id = await slow_job(client)
    stack.running["functions"].stop()
    event = callback_event(
        "replicate", succeeded(job_id), address="", received_at=datetime.now(UTC), traceparent=None
    )
    message = event_message(event)
    async with ServiceBusClient.from_connection_string(stack.connection) as bus:
        async with bus.get_queue_sender("job-inbox") as sender:
            await sender.send_messages(ServiceBusMessage(b"planted", message_id="poison", subject="odd"))
            await sender.send_messages(
                ServiceBusMessage(
                    message.body,
                    message_id=message.message_id,
                    subject=message.subject,
                    correlation_id=job_id,
                    application_properties={name: value for name, value in message.properties.items()},  # noqa: C416 - dict() has narrower types
                )
            )
        async with bus.get_queue_receiver("job-inbox") as receiver:
            found: list[str | None] = []
            while message.message_id not in found:
                for received in await receiver.receive_messages(2, max_wait_time=20):
                    found.append(received.message_id)
                    if received.message_id == message.message_id:
                        await receiver.dead_letter_message(
                            received, reason="bug", error_description="of\nours"
                        )
                    else:
                        await receiver.abandon_message(received)
    stack.start("functions")

    async with asyncio.timeout(PATIENCE):
        while (listed := await command(stack.settings, "dead-letters")).out.count("\n") < 3:
            await asyncio.sleep(0.5)
    assert (listed.status, listed.err) == (0, "")
    lines = sorted(line.split("  ")[3:] for line in listed.out.splitlines())
    assert lines == [
        [],
        ["callback.received", message.message_id, job_id, "bug", "of ours"],
        [
            "odd",
            "poison",
            "poison",
            "MaxDeliveryCountExceeded",
            "Message could not be consumed after 10 delivery attempts.",
        ],
    ]
    assert "planted" not in listed.out

    sent = await command(stack.settings, "dead-letters", "--replay", "--subject", "callback.received")
    assert (sent.status, sent.out.splitlines()[-1], sent.err) == (0, "1 sent again", "")
    await consumer.has([job_id])
    assert consumer.types == {job_id: "job.succeeded"}
    left = await command(stack.settings, "dead-letters")
    assert ("poison" in left.out, message.message_id in left.out) == (True, False)

    async with (
        ServiceBusClient.from_connection_string(stack.connection) as bus,
        bus.get_queue_receiver("job-inbox", sub_queue="deadletter") as receiver,
    ):
        assert len(await receiver.receive_messages(1, max_wait_time=20)) == 1
        held = await command(stack.settings, "dead-letters", "--replay")
        assert (held.status, held.out) == (1, "0 sent again\n")
        assert held.err.startswith("1 were not reached: ")

    refused = await command(stack.settings, "dead-letters", "--replay", "--entity", "job-events/outcomes")
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "would go to all subscriptions" in refused.err
    stack.running.pop("servicebus").stop()
    away = await command(stack.settings, "dead-letters")
    assert (away.status, away.out) == (1, "")
    assert away.err == "the dead-letter queue of job-inbox cannot be reached\n"


async def test_kept_deliveries_are_read_again_and_no_outcome_is_told_twice(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    job_id = (await client.start("replicate", PREDICTION)).json()["id"]
    await consumer.has([job_id])
    odd = Delivery(
        method="POST",
        url=f"{stack.functions_url}/api/webhooks/stripe",
        headers={},
        body=b'{"id": "evt_odd", "object": "event", "type": "planet.aligned"}',
        received_at=datetime.now(UTC),
    )
    assert STRIPE.scheme is not None
    signed = STRIPE.scheme.sign(odd, stack.settings["STRIPE_SIGNING_SECRET"], datetime.now(UTC))
    answer = await client.http.post(signed.url, content=signed.body, headers=dict(signed.headers))
    assert answer.is_success

    listed = await command(stack.settings, "deliveries")
    assert (listed.status, listed.err) == (0, "")
    *lines, last = [line.split("  ") for line in listed.out.splitlines()]
    told = {line[2]: line[3:] for line in lines}
    [name] = [line[0] for line in lines if line[2] == "stripe"]
    assert told["replicate"][0] == job_id
    assert told["replicate"][1].endswith("(succeeded)")
    assert told["stripe"][1].startswith("NOT understood: ")
    assert last == [f"{len(lines)} deliveries"]

    again = await command(stack.settings, "replay", "--provider", "replicate")
    assert (again.status, again.err) == (0, "")
    assert again.out.splitlines()[-1] == f"{len(lines) - 1} published"
    still = await command(stack.settings, "replay", name)
    assert (still.status, still.err) == (1, "1 could not be read by today's code either\n")
    assert "NOT published" in still.out
    for wrong in ([], ["nothing"], [name, "--since", "2026-03-01"], ["--since", "soon"]):
        refused = await command(stack.settings, "replay", *wrong)
        assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    await asyncio.sleep(1)
    assert consumer.outcomes == {f"outcome-{job_id}": 1}


async def test_an_orphan_settles_the_job_that_it_is_given_to(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    job_id = await slow_job(client)
    event = callback_event(
        "replicate", succeeded(None), address="", received_at=datetime.now(UTC), traceparent=None
    )
    name = f"orphans/{event.id}.json"
    await DirectoryPayloads(stack.directory / "payloads").put(name, event_data(event))
    listed = await command(stack.settings, "orphans")
    assert (listed.status, listed.err) == (0, "")
    assert listed.out.splitlines()[0].startswith(f"{name}  replicate  prediction  prediction.succeeded")
    assert "made by hand" not in listed.out
    bound = await command(stack.settings, "bind", name, job_id)
    assert (bound.status, bound.err) == (0, "")
    assert bound.out == f"{job_id} was running and is succeeded\n"
    await consumer.has([job_id])
    assert consumer.types == {job_id: "job.succeeded"}
    again = await command(stack.settings, "bind", name, job_id)
    assert (again.status, again.err) == (
        1,
        f"there is no {name}: give a name as it is listed, orphans/...\n",
    )


async def test_on_azure_storage_every_connection_is_closed(tmp_path: Path) -> None:
    with azurite.start() as storage:
        address = storage.connection_string
        async with TableClient.from_connection_string(address, "jobs") as table:
            await table.create_table()
        settings = read_settings(tmp_path, Ports(), ROOT / "local.settings.json.example")
        settings |= {"JOB_STORE": address, "PAYLOAD_STORE": address}
        for name, said in (
            ("audit", "accepted 0 = settled 0 + open 0\n0 overdue\n"),
            ("orphans", "0 orphans\n"),
        ):
            ended = await command(settings, name)
            assert (ended.status, ended.out, ended.err) == (0, said, "")


async def test_a_vault_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    settings = {
        **read_settings(tmp_path, Ports(), ROOT / "local.settings.json.example"),
        "SECRET_SOURCE": "https://127.0.0.1:9",
        "PROVIDERS": "acme",
        "PROVIDER_ACME__START_URL": "https://acme.example/jobs",
        "PROVIDER_ACME__CALLBACK_ADDRESS": "account",
        "PROVIDER_ACME__SCHEME": "none",
    }
    ended = await command(settings, "address", "acme")
    assert (ended.status, ended.out, ended.err) == (1, "", "the vault cannot be reached\n")


async def test_an_identity_that_is_refused_is_one_sentence(tmp_path: Path) -> None:
    settings = {
        **read_settings(tmp_path, Ports(), ROOT / "local.settings.json.example"),
        "PAYLOAD_STORE": "https://127.0.0.1:9",
        "AZURE_AUTHORITY_HOST": "https://127.0.0.1:9",
        "AZURE_TENANT_ID": "tenant",
        "AZURE_CLIENT_ID": "client",
        "AZURE_CLIENT_SECRET": "made-up",
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
    }
    ended = await command(settings, "orphans")
    assert (ended.status, ended.out, ended.err) == (1, "", "the payload container cannot be reached\n")


@pytest.mark.parametrize("arguments", [[], ["--help"]], ids=["nothing", "help"])
async def test_without_a_command_all_are_named_and_no_setting_is_read(arguments: list[str]) -> None:
    ended = await command({"PROVIDERS": ""}, *arguments)
    assert (ended.status, ended.err) == (0, "")
    for name in ("address", "audit", "dead-letters", "deliveries", "replay", "orphans", "bind"):
        assert f"\n    {name} " in ended.out.replace("\n                ", " ")


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["dead-letters", "--limit", "0"], ["bind", "orphans/x"], ["deliveries", "x"]],
    ids=str,
)
async def test_a_wrong_command_is_one_sentence(arguments: list[str]) -> None:
    ended = await command({}, *arguments)
    assert (ended.status, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.endswith("--help says what there is\n")


async def test_a_reader_of_the_first_line_alone_gets_it_without_complaint(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, Ports(), ROOT / "local.settings.json.example")
    kept = DirectoryPayloads(tmp_path / "payloads")
    event = callback_event(
        "replicate", succeeded(None), address="", received_at=datetime.now(UTC), traceparent=None
    )
    for number in range(1000):  # more than a pipe holds
        await kept.put(f"orphans/{number:04}{'x' * 100}.json", event_data(event))
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m services orphans | head -1",
        cwd=ROOT,
        env={**environ, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert out.startswith(b"orphans/0000xxx")
    assert err == b""
