"""A start whose answer was lost, at a provider that can be asked for our own id but not sent it twice."""

from datetime import timedelta

import pytest

from services.errors import AnswerLost
from services.models import HttpAnswer, Status
from tests.unit.conftest import NOW, World, answer, said

Said = HttpAnswer | Exception


async def start_and_lose_the_answer(world: World, *found: Said) -> str:
    world.answers = [AnswerLost(), *found]
    return str(said(await world.start(provider="searched"))["id"])


async def test_the_job_is_found_polled_and_ends_without_a_second_start(world: World) -> None:
    job_id = await start_and_lose_the_answer(world)
    world.answers = [
        answer({"id": "x_7", "state": "busy", "job": job_id}),
        answer({"state": "done", "result": {"words": 1}}),
    ]
    await world.run_until(NOW + timedelta(minutes=1))
    job = await world.job(job_id)
    assert (job.status, job.external_id) == (Status.RUNNING, "x_7")
    assert await world.store.find("searched", "x_7") == job_id
    await world.run_until(NOW + timedelta(minutes=20))
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]
    assert [(one.method, one.url.rpartition("/")[2]) for one in world.sender.requests] == [
        ("POST", "work"),
        ("GET", f"work?job={job_id}"),
        ("GET", "x_7"),
    ]


async def test_a_job_that_is_found_at_its_end_has_its_outcome(world: World) -> None:
    job_id = await start_and_lose_the_answer(world)
    world.answers = [answer({"id": "x_7", "state": "done", "job": job_id, "result": {"words": 1}})]
    await world.run_until(NOW + timedelta(minutes=1))
    [(subject, data)] = world.outcomes()
    assert (subject, data["external_id"], data["result"]) == ("job.succeeded", "x_7", {"words": 1})


@pytest.mark.parametrize(
    "found",
    [
        answer({}, 404),
        answer({"id": "x_8", "state": "done", "job": "job_other", "result": {"words": 9}}),
        answer({"id": "x_8", "state": "done", "result": {"words": 9}}),
        AnswerLost(),
    ],
    ids=["none", "another job's", "nobody's", "no answer"],
)
async def test_what_is_not_ours_changes_nothing_and_is_asked_again(world: World, found: Said) -> None:
    job_id = await start_and_lose_the_answer(world, found, found)
    await world.run_until(NOW + timedelta(seconds=40))
    job = await world.job(job_id)
    assert (job.status, job.external_id, job.polls_failed > 0) == (Status.AMBIGUOUS, None, True)
    world.answers = [answer({"id": "x_7", "state": "done", "job": job_id, "result": {"words": 1}})]
    await world.run_until(NOW + timedelta(minutes=10))
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]


async def test_it_is_looked_for_once_more_at_the_deadline_and_then_expires(world: World) -> None:
    job_id = await start_and_lose_the_answer(world)
    world.sender._answer = lambda _: answer({}, 404)
    await world.run_until(NOW + timedelta(minutes=59))
    before = len(world.sender.requests)
    await world.run_until(NOW + timedelta(hours=2))
    assert len(world.sender.requests) > before
    assert (await world.job(job_id)).status is Status.EXPIRED
    assert {request.method for request in world.sender.requests[1:]} == {"GET"}


async def test_a_job_that_waits_for_its_first_start_is_not_looked_for(world: World) -> None:
    world.answers = [answer({}, 503)]
    await world.start(provider="searched")
    await world.run_until(NOW + timedelta(seconds=40))
    assert [request.method for request in world.sender.requests] == ["POST", "POST"]


async def test_a_callback_that_says_our_id_ends_a_job_that_was_never_found(world: World) -> None:
    await start_and_lose_the_answer(world)
    await world.deliver({"id": "x_7", "state": "done", "result": {"words": 1}})
    await world.forward()
    [(subject, data)] = world.outcomes()
    assert (subject, data["external_id"]) == ("job.succeeded", "x_7")
