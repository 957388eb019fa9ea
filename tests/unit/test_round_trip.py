"""Jobs from start to outcome, on memory adapters."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from services.errors import AnswerLost, NotSent
from services.models import HttpAnswer, Status
from tests.unit.conftest import NOW, TRACE, World, answer, request, said


async def test_a_job_is_started_called_back_and_settled_with_one_outcome(world: World) -> None:
    started = await world.start({"input": {"text": "hello"}, "metadata": {"order": "7"}})
    assert started.status == 202
    job_id = said(started)["id"]
    assert said(started)["status"] == "running"

    taken = await world.deliver({"id": "x_1", "state": "done", "result": {"words": 1, "secret": "s"}})
    assert (taken.status, taken.body) == (202, b"thanks")
    await world.forward()

    assert world.outcomes() == [
        (
            "job.succeeded",
            {
                "job_id": job_id,
                "provider": "acme",
                "operation": "work",
                "status": "succeeded",
                "external_id": "x_1",
                "metadata": {"order": "7"},
                "result": {"words": 1},
                "failure": None,
                "created_at": "2026-03-01T12:00:00+00:00",
                "settled_at": "2026-03-01T12:00:00+00:00",
            },
        )
    ]
    job = await world.job(job_id)
    assert (job.status, job.published) == (Status.SUCCEEDED, True)
    assert world.bus.scheduled == {}, "no tick waits for a job that is done"


async def test_an_open_job_always_has_exactly_one_tick_waiting(world: World) -> None:
    await world.start()
    assert [at for at, _ in world.bus.scheduled.values()] == [NOW + timedelta(hours=1)]


async def test_the_same_callback_twice_is_one_outcome(world: World) -> None:
    await world.start()
    await world.deliver({"state": "done"})
    await world.deliver({"state": "done"})
    await world.forward()
    await world.forward()
    assert len(world.outcomes()) == 1


async def test_a_callback_that_beats_the_start_answer_settles_the_job(world: World) -> None:
    async def call_back_first() -> None:
        await world.deliver({"id": "x_1", "state": "done"})
        await world.forward()

    early = world.sender.send

    async def send(*args: object, **kwargs: object) -> HttpAnswer:
        result = await early(*args, **kwargs)  # type: ignore[arg-type]
        await call_back_first()
        return result

    world.sender.send = send  # type: ignore[method-assign] # the line cut
    started = await world.start()
    assert said(started)["status"] == "succeeded"
    assert said(started)["external_id"] == "x_1"
    assert len(world.outcomes()) == 1
    assert world.bus.scheduled == {}


async def test_a_job_without_a_callback_expires_at_its_deadline(world: World) -> None:
    started = await world.start({"input": {"text": "a"}, "deadline_seconds": 90})
    await world.run_until(NOW + timedelta(seconds=89))
    assert world.outcomes() == []
    await world.run_until(NOW + timedelta(seconds=91))
    assert [(subject, data["failure"]) for subject, data in world.outcomes()] == [
        ("job.expired", {"code": "deadline", "message": "no outcome came before the deadline"})
    ]
    assert (await world.job(said(started)["id"])).status is Status.EXPIRED
    assert world.bus.scheduled == {}


async def test_a_callback_after_the_deadline_is_a_late_result(world: World) -> None:
    await world.start({"input": {"text": "a"}, "deadline_seconds": 90})
    address = world.callback_address()
    await world.run_until(NOW + timedelta(seconds=91))
    await world.deliver({"state": "done", "result": {"words": 3}}, address=address)
    await world.forward()
    late = [json.loads(m.body) for m in world.events("notice")]
    assert [(event["type"], event["data"]["result"]) for event in late] == [("job.late_result", {"words": 3})]
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]


async def test_an_immediate_provider_settles_the_job_within_the_start(world: World) -> None:
    world.answers = [answer({"id": "x", "result": {"words": 2, "internal": "no"}})]
    started = await world.start(provider="quick")
    assert (started.status, said(started)["status"], said(started)["result"]) == (
        202,
        "succeeded",
        {"words": 2},
    )
    assert "Retry-After" not in started.headers
    assert [data["result"] for _, data in world.outcomes()] == [{"words": 2}]
    assert world.bus.scheduled == {}


@pytest.mark.parametrize(
    "trouble",
    [NotSent(), answer({}, 429, retry_after="20"), answer({}, 503), answer({}, 500)],
    ids=["not sent", "429", "503", "500"],
)
async def test_a_start_that_cannot_be_now_is_accepted_and_tried_again_by_tick(
    world: World, trouble: HttpAnswer | Exception
) -> None:
    world.answers = [trouble]
    started = await world.start()
    assert (started.status, said(started)["status"]) == (202, "accepted")
    await world.run_until(NOW + timedelta(seconds=30))
    job = await world.job(said(started)["id"])
    assert (job.status, job.attempts, job.external_id) == (Status.RUNNING, 2, "x_1")
    assert len(world.bus.scheduled) == 1


async def test_retry_after_is_obeyed(world: World) -> None:
    world.answers = [answer({}, 429, retry_after="20")]
    await world.start()
    await world.run_until(NOW + timedelta(seconds=19))
    assert len(world.sender.requests) == 1
    await world.run_until(NOW + timedelta(seconds=20))
    assert len(world.sender.requests) == 2


async def test_starts_that_never_get_through_end_the_job_as_failed(world: World) -> None:
    world.answers = [answer({}, 503)] * 3
    await world.start()
    await world.run_until(NOW + timedelta(minutes=30))
    assert [(s, d["failure"]["code"]) for s, d in world.outcomes()] == [
        ("job.failed", "provider_unavailable")
    ]
    assert len(world.sender.requests) == 3


async def test_a_start_whose_answer_was_lost_is_never_sent_twice_without_idempotency(world: World) -> None:
    world.answers = [AnswerLost()]
    started = await world.start()
    assert (started.status, said(started)["status"]) == (202, "ambiguous")
    await world.run_until(NOW + timedelta(minutes=50))
    assert len(world.sender.requests) == 1
    await world.deliver({"state": "done"})
    await world.forward()
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]


async def test_a_start_whose_answer_was_lost_is_sent_again_with_idempotency(world: World) -> None:
    world.answers = [AnswerLost()]
    await world.start(provider="account")
    await world.run_until(NOW + timedelta(minutes=1))
    assert len(world.sender.requests) == 2


async def test_a_refused_start_fails_the_job_and_tells_the_caller_why(world: World) -> None:
    world.answers = [answer({"error": "internal detail"}, 422)]
    refused = await world.start()
    assert refused.status == 422
    assert refused.headers["Content-Type"] == "application/problem+json"
    problem = said(refused)
    assert (problem["type"], problem["detail"]) == (
        "urn:hookbus:problem:provider-refused",
        "the text is too long",
    )
    assert b"internal detail" not in refused.body
    assert (await world.job(problem["job_id"])).status is Status.FAILED
    assert [subject for subject, _ in world.outcomes()] == ["job.failed"]


async def test_respond_async_does_not_try_the_provider_before_the_answer(world: World) -> None:
    started = await world.start(prefer="respond-async, wait=5")
    assert (started.status, said(started)["status"]) == (202, "accepted")
    assert started.headers["Preference-Applied"] == "respond-async"
    assert world.sender.requests == []
    await world.run_until(NOW + timedelta(seconds=1))
    assert (await world.job(said(started)["id"])).status is Status.RUNNING


async def test_a_crash_between_the_tick_and_the_row_leaves_nothing_behind(world: World) -> None:
    world.store.available = False
    assert (await world.start()).status == 503
    world.store.available = True
    await world.run_until(NOW + timedelta(minutes=5))
    assert world.bus.scheduled == {}
    assert world.bus.published == []


async def test_a_store_that_is_away_when_the_answer_comes_leaves_the_job_to_its_tick(world: World) -> None:
    send = world.sender.send

    async def and_break(*args: object, **kwargs: object) -> HttpAnswer:
        world.store.available = False
        return await send(*args, **kwargs)  # type: ignore[arg-type]

    world.sender.send = and_break  # type: ignore[method-assign] # the line cut
    started = await world.start()
    assert (started.status, said(started)["status"]) == (202, "accepted")
    world.store.available = True
    await world.run_until(NOW + timedelta(minutes=1))
    assert (await world.job(said(started)["id"])).status is Status.AMBIGUOUS
    await world.deliver({"id": "x_1", "state": "done"})
    await world.forward()
    assert len(world.outcomes()) == 1


async def test_a_callback_that_comes_while_the_store_is_away_is_put_back_until_it_returns(
    world: World,
) -> None:
    started = await world.start()
    await world.deliver({"state": "done"})
    world.store.available = False
    await world.forward()
    await world.run_until(NOW + timedelta(minutes=10))
    assert world.outcomes() == []
    world.store.available = True
    await world.run_until(NOW + timedelta(minutes=20))
    assert (await world.job(said(started)["id"])).status is Status.SUCCEEDED
    assert len(world.outcomes()) == 1


async def test_a_callback_that_nobody_knows_is_orphaned_after_minutes_and_kept(world: World) -> None:
    await world.deliver({"id": "x_9", "state": "done"}, address="https://hooks.example/api/webhooks/account")
    await world.forward()
    await world.run_until(NOW + timedelta(minutes=3))
    assert world.events("notice") == []
    await world.run_until(NOW + timedelta(minutes=4))
    orphans = [json.loads(m.body) for m in world.events("notice")]
    assert [(o["type"], o["data"]["external_id"]) for o in orphans] == [("callback.orphaned", "x_9")]
    assert await world.payloads.names("orphans/", 10) == [
        f"orphans/{world.events('notice')[0].message_id}.json"
    ]
    assert world.bus.scheduled == {}


async def test_a_callback_that_comes_before_its_external_id_is_stored_finds_the_job_later(
    world: World,
) -> None:
    await world.deliver({"id": "x_1", "state": "done"}, address="https://hooks.example/api/webhooks/account")
    await world.forward()
    started = await world.start(provider="account")
    await world.run_until(NOW + timedelta(seconds=5))
    assert (await world.job(said(started)["id"])).status is Status.SUCCEEDED


async def test_a_delivery_of_one_job_replayed_at_anothers_address_settles_neither_wrongly(
    world: World,
) -> None:
    world.answers = [answer({"id": "x_1"}), answer({"id": "x_2"})]
    first = said(await world.start())["id"]
    first_address = world.callback_address()
    second = said(await world.start())["id"]
    second_address = world.callback_address()
    await world.deliver({"id": "x_1", "state": "done"}, address=second_address)
    await world.deliver({"id": "x_1", "state": "done"}, address=first_address)
    await world.forward()
    assert (await world.job(first)).status is Status.SUCCEEDED
    assert (await world.job(second)).status is Status.RUNNING
    [orphan] = world.events("notice")
    assert orphan.subject == "callback.orphaned"
    assert await world.payloads.get(f"orphans/{orphan.message_id}.json") is not None


async def test_cancel_settles_the_job_and_asks_the_provider_to_stop(world: World) -> None:
    job_id = said(await world.start())["id"]
    canceled = await world.api.cancel_job(request("DELETE", f"jobs/{job_id}"), job_id)
    assert (canceled.status, said(canceled)["status"]) == (202, "canceled")
    assert [(r.method, r.url) for r in world.sender.requests[1:]] == [
        ("DELETE", "https://acme.example/work/x_1")
    ]
    assert [subject for subject, _ in world.outcomes()] == ["job.canceled"]
    assert world.bus.scheduled == {}
    again = await world.api.cancel_job(request("DELETE", f"jobs/{job_id}"), job_id)
    assert (again.status, said(again)["type"]) == (409, "urn:hookbus:problem:already-settled")


async def test_an_outcome_that_the_bus_does_not_take_is_spooled_and_published_later(world: World) -> None:
    await world.start()
    await world.deliver({"state": "done"})
    world.bus.available = False
    taken = await world.deliver({"state": "busy"}, event="evt_2")
    assert taken.status == 202
    await world.forward()
    assert world.outcomes() == []
    world.bus.available = True
    assert await world.outbox.drain() == 2
    assert len(world.outcomes()) == 1
    assert await world.outbox.drain() == 0


async def test_a_crash_after_the_settling_write_publishes_the_outcome_on_redelivery(world: World) -> None:
    started = await world.start()
    await world.deliver({"state": "done"})
    world.bus.available = world.payloads.available = False
    for message in world.events("callback"):
        with pytest.raises(Exception, match="away"):
            await world.advance(message)
    assert (await world.job(said(started)["id"])).published is False
    world.bus.available = world.payloads.available = True
    assert len(world.bus.scheduled) == 1, "the tick waits until the outcome is out"
    await world.forward()
    assert len(world.outcomes()) == 1
    assert world.bus.scheduled == {}


async def test_the_tick_publishes_an_outcome_whose_callback_went_to_the_dead_letters(world: World) -> None:
    started = await world.start()
    stored = await world.store.load(said(started)["id"])
    assert stored is not None
    settled = replace(stored.job, status=Status.SUCCEEDED, settled_at=NOW)
    await world.store.save(settled, stored.version)
    await world.run_until(NOW + timedelta(hours=1))
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]


async def test_a_spool_larger_than_a_batch_is_drained_whole(world: World) -> None:
    await world.start()
    world.bus.available = False
    for number in range(250):
        assert (await world.deliver({"state": "busy"}, event=f"evt_{number}")).status == 202
    assert await world.outbox.drain() == 0
    world.bus.available = True
    assert await world.outbox.drain() == 250
    assert len(world.events("callback")) == 250


async def test_what_nobody_can_read_in_the_spool_is_put_aside_and_blocks_nothing(world: World) -> None:
    await world.payloads.put("spool/0-broken", b"{")
    await world.start()
    world.bus.available = False
    await world.deliver({"state": "done"})
    world.bus.available = True
    await world.outbox.drain()
    assert len(world.events("callback")) == 1
    assert await world.payloads.get("unreadable/spool/0-broken") == b"{"
    assert await world.payloads.names("spool/", 10) == []


async def test_a_result_too_large_for_a_message_is_put_aside_and_pointed_to(world: World) -> None:
    text = "x" * 200_000
    world.answers = [answer({"id": "x", "result": {"words": 1, "text": text}})]
    started = await world.start(provider="quick")
    event = json.loads(world.events("outcome")[0].body)
    assert "data" not in event
    assert event["dataref"] == said(started)["result_url"]
    assert said(started)["result"] is None
    kept = await world.payloads.get(event["dataref"].removeprefix("memory:///"))
    assert kept is not None
    assert json.loads(kept)["result"] == {"words": 1, "text": text}
    assert json.loads(kept)["status"] == "succeeded"


async def test_a_callback_too_large_for_a_message_still_settles_its_job(world: World) -> None:
    object.__setattr__(world.receive, "max_bytes", 1_000_000)
    started = await world.start()
    await world.deliver({"state": "done", "result": {"words": 1, "text": "y" * 200_000}})
    await world.forward()
    job = await world.job(said(started)["id"])
    assert (job.status, job.result) == (Status.SUCCEEDED, None)
    assert job.result_ref is not None
    assert "dataref" in json.loads(world.events("callback")[0].body), (
        "over 192 KiB, though it would have fitted"
    )
    assert "dataref" in json.loads(world.events("outcome")[0].body)


async def test_the_trace_goes_from_the_caller_through_the_callback_address_to_the_outcome(
    world: World,
) -> None:
    await world.start(traceparent=TRACE)
    await world.deliver({"state": "done"})
    await world.forward()
    for message in world.bus.published:
        assert (message.properties["traceparent"], message.properties["Diagnostic-Id"]) == (TRACE, TRACE)
        assert json.loads(message.body)["traceparent"] == TRACE
