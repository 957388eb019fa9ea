"""The promise on real processes: whatever is killed or stopped, each accepted job has one outcome."""

import asyncio

import pytest

from dev.stack import Stack
from tests.stack.conftest import Client, Consumer

PREDICTION = {"model": "meta/llama", "input": {"prompt": "hello"}}
PAYMENT = {"amount": 1999, "currency": "usd", "payment_method": "pm_usBankAccount_success"}
QUIET = 1.0
"""Seconds to listen on for an outcome that should not come."""


async def started(client: Client, count: int, provider: str = "replicate") -> list[str]:
    document = PREDICTION if provider == "replicate" else PAYMENT
    answers = await asyncio.gather(*(client.start(provider, document) for _ in range(count)))
    assert [answer.status_code for answer in answers] == [202] * count
    return [answer.json()["id"] for answer in answers]


async def exactly_once(consumer: Consumer, jobs: list[str], *, patience: float = 60) -> None:
    await consumer.has(jobs, patience=patience)
    await asyncio.sleep(QUIET)
    assert consumer.outcomes == {f"outcome-{job}": 1 for job in jobs}
    assert set(consumer.types.values()) == {"job.succeeded"}


async def test_two_hundred_jobs_at_once_have_two_hundred_outcomes(client: Client, consumer: Consumer) -> None:
    jobs = await started(client, 200)
    assert len(set(jobs)) == 200
    await exactly_once(consumer, jobs)


async def test_the_host_killed_between_the_202_and_the_callback_loses_nothing(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    jobs = await started(client, 5)
    stack.running["functions"].kill()
    stack.start("functions")
    await exactly_once(consumer, jobs)


async def test_the_host_killed_while_callbacks_are_worked_on_loses_nothing(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    jobs = await started(client, 60)
    await client.taken("replicate", 10)
    stack.running["functions"].kill()
    stack.start("functions")
    await exactly_once(consumer, jobs, patience=90)


async def test_callbacks_that_come_while_service_bus_is_stopped_are_spooled_and_published_later(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    await client.turn(provider="replicate", latency=2)
    jobs = await started(client, 20)
    stack.running["servicebus"].stop()
    await client.taken("replicate", 20)
    assert len(list((stack.directory / "payloads").rglob("*callback-*"))) >= 20, "they wait in the spool"
    stack.start("servicebus")
    await exactly_once(consumer, jobs, patience=100)


async def test_service_bus_killed_and_started_again_keeps_the_deadlines_that_wait_in_it(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    await client.turn(provider="replicate", latency=600)
    answer = await client.http.post(
        f"{stack.functions_url}/api/jobs/replicate", json={"input": PREDICTION, "deadline_seconds": 6}
    )
    stack.running["servicebus"].kill()
    stack.start("servicebus")
    await consumer.has([answer.json()["id"]])
    assert consumer.types == {answer.json()["id"]: "job.expired"}


async def test_a_job_whose_callback_is_lost_is_asked_about_before_its_deadline_ends_it(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    await client.turn(provider="replicate", callback={"lost": True})
    answer = await client.http.post(
        f"{stack.functions_url}/api/jobs/replicate", json={"input": PREDICTION, "deadline_seconds": 6}
    )
    await consumer.has([answer.json()["id"]])
    assert consumer.types == {answer.json()["id"]: "job.succeeded"}


async def test_a_host_killed_in_the_middle_of_a_start_charges_once(
    stack: Stack, client: Client, consumer: Consumer
) -> None:
    await client.turn(provider="stripe", cut="after", times=1)
    answer = await client.start("stripe", PAYMENT, idempotency_key="order-1")
    assert (answer.status_code, answer.json()["status"]) == (202, "ambiguous")
    stack.running["functions"].kill()
    stack.start("functions")
    again = await client.start("stripe", PAYMENT, idempotency_key="order-1")
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    await exactly_once(consumer, [answer.json()["id"]])
    assert len((await client.seen("stripe"))["jobs"]) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        {"callback": {"repeat": 3}},
        {"callback": {"reorder": True}},
        {"callback": {"early": True}},
        {"status": 503, "times": 2},
        {"status": 429, "retry_after": 1, "times": 1},
        {"cut": "before", "times": 1},
    ],
    ids=["repeated", "reordered", "early", "503 twice", "429 once", "cut before"],
)
async def test_a_lying_and_failing_third_party_still_gives_one_outcome(
    client: Client, consumer: Consumer, trouble: dict[str, object]
) -> None:
    await client.turn(provider="stripe", **trouble)
    await exactly_once(consumer, await started(client, 3, "stripe"))


async def test_a_forged_callback_has_no_effect(client: Client, consumer: Consumer) -> None:
    await client.turn(provider="replicate", callback={"forge": True})
    [job] = await started(client, 1)
    async with asyncio.timeout(20):
        while not [one for one in (await client.seen("replicate"))["callbacks"] if one["answer"] == 401]:
            await asyncio.sleep(0.1)
    assert (await client.job(job))["status"] == "running"
    assert consumer.outcomes == {}
