"""Jobs from start to outcome, on memory adapters."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from services.adapters.memory import MemoryPayloads
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
    [kept] = await world.payloads.names("orphans/", 10)
    assert kept.endswith(f"/{world.events('callback')[0].message_id}.json")
    assert world.bus.scheduled == {}


TROUBLE = (AnswerLost(), answer({}, 503, retry_after="600"), answer({"id": "x_1"}, 201))


@pytest.mark.parametrize("words", ["few", "many " * 50_000], ids=["small", "claim-checked"])
async def test_a_callback_that_was_orphaned_settles_its_job_once_the_start_tells_its_external_id(
    world: World, words: str
) -> None:
    world.answers = list(TROUBLE)
    world.receive = replace(world.receive, max_bytes=1_000_000)
    world.api = replace(world.api, receive=world.receive)
    job_id = said(await world.start(provider="account"))["id"]
    done = {"id": "x_1", "state": "done", "result": {"words": 1, "text": words}}
    await world.deliver(done, address="https://hooks.example/api/webhooks/account")
    await world.forward()
    await world.run_until(NOW + timedelta(minutes=5))
    assert [notice.subject for notice in world.events("notice")] == ["callback.orphaned"]
    assert (await world.job(job_id)).status is Status.AMBIGUOUS
    await world.run_until(NOW + timedelta(minutes=15))
    job = await world.job(job_id)
    assert (job.status, job.published) == (Status.SUCCEEDED, True)
    assert await world.payloads.names("orphans/", 10) == []
    assert world.bus.scheduled == {}


async def test_a_callback_whose_job_learns_its_external_id_while_it_is_kept_settles_it(world: World) -> None:
    class LinksMeanwhile(MemoryPayloads):
        async def put(self, name: str, data: bytes) -> str:
            address = await super().put(name, data)
            if name.startswith("orphans/"):
                await world.store.link("account", "x_1", job_id)
            return address

    world.payloads = LinksMeanwhile()
    world.__post_init__()
    world.answers = [answer({}, 503, retry_after="600")]
    job_id = said(await world.start(provider="account"))["id"]
    await world.deliver({"id": "x_1", "state": "done"}, address="https://hooks.example/api/webhooks/account")
    await world.forward()
    await world.run_until(NOW + timedelta(minutes=5))
    assert (await world.job(job_id)).status is Status.SUCCEEDED
    assert await world.payloads.names("orphans/", 10) == []


async def test_only_a_provider_with_one_address_for_all_jobs_has_orphans_to_look_for(world: World) -> None:
    asked: list[str] = []

    class Asked(MemoryPayloads):
        async def names(self, prefix: str, limit: int) -> Sequence[str]:
            asked.append(prefix)
            return await super().names(prefix, limit)

    world.payloads = Asked()
    world.__post_init__()
    await world.start()
    assert asked == []
    await world.start(provider="account")
    assert len(asked) == 1


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
    [kept] = await world.payloads.names("orphans/", 10)
    assert orphan.message_id == f"orphaned-{kept.rpartition('/')[2].removesuffix('.json')}"


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


def polls(world: World) -> int:
    return sum(request.method == "GET" for request in world.sender.requests)


def waiting(world: World) -> list[timedelta]:
    return [at - NOW for at, _ in world.bus.scheduled.values()]


async def test_a_callback_in_time_costs_nothing_more_where_there_is_a_poll(world: World) -> None:
    await world.start(provider="asked")
    assert waiting(world) == [timedelta(minutes=10)]
    await world.run_until(NOW + timedelta(minutes=9, seconds=59))
    await world.deliver({"state": "done"})
    [callback] = world.events("callback")
    await world.advance(callback)
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]
    assert (polls(world), world.bus.scheduled) == (0, {})


async def test_a_job_whose_callback_was_lost_is_settled_by_asking(world: World) -> None:
    job_id = said(await world.start(provider="asked"))["id"]
    world.answers = [answer({"state": "done", "result": {"words": 2, "internal": "no"}})]
    await world.run_until(NOW + timedelta(minutes=10))
    assert [(r.method, r.url) for r in world.sender.requests[1:]] == [
        ("GET", "https://acme.example/work/x_1")
    ]
    assert [(s, d["result"], d["external_id"]) for s, d in world.outcomes()] == [
        ("job.succeeded", {"words": 2}, "x_1")
    ]
    assert (await world.job(job_id)).history[-1].detail == "poll"
    assert (world.events("notice"), world.bus.scheduled) == ([], {})


async def test_a_job_that_runs_is_asked_about_less_and_less_with_one_tick_waiting(world: World) -> None:
    job_id = said(await world.start({"input": {"text": "a"}, "deadline_seconds": 86400}, provider="asked"))[
        "id"
    ]
    due = []
    for _ in range(6):
        [wait] = waiting(world)
        due.append(wait / timedelta(minutes=1))
        await world.run_until(NOW + wait)
    assert due == [10, 15, 25, 45, 75, 105]
    job = await world.job(job_id)
    assert (job.status, job.polls, len(job.history)) == (Status.RUNNING, 6, 2)
    assert world.events("notice") == []


async def test_a_provider_that_never_calls_back_is_asked_until_the_job_ends(world: World) -> None:
    world.answers = [answer({"id": "x_1"}), *[answer({"state": "busy"})] * 3, answer({"state": "error"})]
    await world.start(provider="polled")
    assert waiting(world) == [timedelta(seconds=2)]
    await world.run_until(NOW + timedelta(seconds=9))
    assert [subject for subject, _ in world.outcomes()] == ["job.failed"]
    assert (polls(world), world.bus.scheduled) == (4, {})


async def test_a_poll_obeys_retry_after(world: World) -> None:
    world.answers = [answer({"id": "x_1"}), answer({}, 429, retry_after="20")]
    await world.start(provider="polled")
    await world.run_until(NOW + timedelta(seconds=21))
    assert polls(world) == 1
    await world.run_until(NOW + timedelta(seconds=22))
    assert polls(world) == 2


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (NotSent(), "provider_unreachable"),
        (AnswerLost(), "provider_unreachable"),
        (answer({}, 404), "provider_knows_no_job"),
        (answer({}, 429), "provider_unavailable"),
        (answer({}, 500), "provider_unavailable"),
        (answer({"odd": 1}), "answer_unreadable"),
    ],
    ids=["not sent", "lost", "404", "429", "500", "unreadable"],
)
async def test_a_poll_that_tells_nothing_ends_no_job(
    world: World, trouble: HttpAnswer | Exception, code: str
) -> None:
    job_id = said(await world.start(provider="asked"))["id"]
    world.answers = [trouble, trouble, trouble, answer({"state": "done"})]
    await world.run_until(NOW + timedelta(minutes=10, seconds=3))
    job = await world.job(job_id)
    assert (job.status, job.polls_failed, len(world.bus.scheduled)) == (Status.RUNNING, 3, 1)
    assert [entry.event for entry in job.history] == ["accepted", "start.answered", "poll.failed"]
    assert job.history[-1].detail == code
    await world.run_until(NOW + timedelta(minutes=11))
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]
    assert world.bus.scheduled == {}


async def test_an_hour_of_failed_polls_ends_at_the_deadline_with_one_last_poll(world: World) -> None:
    job_id = said(await world.start(provider="asked"))["id"]
    world.answers = [answer({}, 503)] * 1000
    await world.run_until(NOW + timedelta(minutes=59, seconds=59))
    before = polls(world)
    await world.run_until(NOW + timedelta(hours=2))
    assert (polls(world) - before, before) == (1, 12)
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]
    assert (await world.job(job_id)).settled_at == NOW + timedelta(hours=1)
    assert world.bus.scheduled == {}


async def test_the_last_poll_at_the_deadline_settles_the_job(world: World) -> None:
    await world.start({"input": {"text": "a"}, "deadline_seconds": 90}, provider="asked")
    world.answers = [answer({"state": "done"})]
    await world.run_until(NOW + timedelta(seconds=90))
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]
    assert polls(world) == 1


async def test_a_job_whose_provider_has_no_poll_is_not_woken_before_its_deadline(world: World) -> None:
    await world.start()
    assert waiting(world) == [timedelta(hours=1)]


async def test_a_callback_whose_result_does_not_fit_is_kept_and_a_poll_settles_the_job(world: World) -> None:
    await world.start(provider="asked")
    taken = await world.deliver({"id": "x_1", "state": "done", "result": {"words": "many"}})
    assert taken.status == 202
    [unrecognised] = world.events("notice")
    assert unrecognised.subject == "callback.unrecognised"
    assert len(await world.payloads.names("deliveries/", 10)) == 1
    await world.forward()
    assert world.outcomes() == []
    world.answers = [answer({"state": "done", "result": {"words": 4}})]
    await world.run_until(NOW + timedelta(minutes=10))
    assert [(s, d["result"]) for s, d in world.outcomes()] == [("job.succeeded", {"words": 4})]


async def test_a_thin_callback_has_the_provider_asked_at_once(world: World) -> None:
    await world.start(provider="asked")
    await world.deliver({"id": "x_1", "state": "changed"})
    world.answers = [answer({"state": "done", "result": {"words": 5}})]
    await world.forward()
    assert [(s, d["result"]) for s, d in world.outcomes()] == [("job.succeeded", {"words": 5})]
    assert (polls(world), world.bus.scheduled, world.events("notice")) == (1, {}, [])


async def test_a_thin_callback_says_whom_to_ask_about_where_the_start_answer_was_lost(world: World) -> None:
    world.answers = [AnswerLost()]
    job_id = said(await world.start(provider="asked"))["id"]
    await world.deliver({"id": "x_7", "state": "changed"})
    await world.forward()
    assert world.sender.requests[-1].url == "https://acme.example/work/x_7"
    job = await world.job(job_id)
    assert (job.status, job.external_id) == (Status.RUNNING, "x_7")
    assert await world.store.find("asked", "x_7") == job_id
    assert waiting(world) == [timedelta(minutes=10)]


async def test_a_thin_callback_of_a_job_that_runs_on_is_progress(world: World) -> None:
    await world.start(provider="asked")
    await world.deliver({"id": "x_1", "state": "changed"})
    await world.forward()
    [progress] = world.events("notice")
    assert (progress.subject, progress.properties["status"]) == ("job.progress", "running")
    assert waiting(world) == [timedelta(minutes=10)], "the tick that waited"


async def test_a_thin_callback_whose_poll_fails_is_followed_by_a_tick_that_asks_again(world: World) -> None:
    await world.start(provider="asked")
    await world.deliver({"id": "x_1", "state": "changed"})
    world.answers = [answer({}, 503), answer({"state": "done"})]
    await world.forward()
    assert waiting(world) == [timedelta(seconds=1)]
    await world.run_until(NOW + timedelta(seconds=1))
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]
    assert world.bus.scheduled == {}


async def test_a_thin_callback_that_beats_the_start_answer_has_the_provider_asked_soon(world: World) -> None:
    early = world.sender.send

    async def send(*args: object, **kwargs: object) -> HttpAnswer:
        world.sender.send = early  # type: ignore[method-assign] # the line is whole again
        result = await early(*args, **kwargs)  # type: ignore[arg-type]
        await world.deliver({"state": "changed"})
        await world.forward()
        return result

    world.sender.send = send  # type: ignore[method-assign] # the provider is faster than its answer
    started = await world.start(provider="asked")
    assert (said(started)["status"], polls(world)) == ("running", 0)
    assert waiting(world) == [timedelta(seconds=1)]
    world.answers = [answer({"state": "done"})]
    await world.run_until(NOW + timedelta(seconds=1))
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]


async def test_a_thin_callback_after_the_end_asks_nobody_and_says_nothing(world: World) -> None:
    await world.start(provider="asked")
    await world.deliver({"id": "x_1", "state": "error"})
    await world.deliver({"id": "x_1", "state": "changed"}, event="evt_2")
    await world.forward()
    assert [subject for subject, _ in world.outcomes()] == ["job.failed"]
    assert (polls(world), world.events("notice")) == (0, [])


async def test_a_thin_callback_where_there_is_no_poll_is_a_declaration_to_mend(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = said(await world.start())["id"]
    await world.deliver({"id": "x_1", "state": "changed"})
    await world.forward()
    assert (await world.job(job_id)).status is Status.RUNNING
    [logged] = [vars(one) for one in caplog.records if one.message == "callback.thin_without_poll"]
    assert (logged["provider"], logged["operation"], logged["job_id"]) == ("acme", "work", job_id)
    assert waiting(world) == [timedelta(hours=1)]


@pytest.mark.parametrize(("provider", "state"), [("acme", "busy"), ("asked", "changed")])
async def test_any_other_callback_is_a_declaration_as_it_should_be(
    world: World, caplog: pytest.LogCaptureFixture, provider: str, state: str
) -> None:
    await world.start(provider=provider)
    await world.deliver({"id": "x_1", "state": state})
    await world.forward()
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == []


async def test_a_poll_that_disagrees_with_a_callback_that_was_first_is_a_late_result(world: World) -> None:
    await world.start(provider="asked")
    address, ask = world.callback_address(), world.sender.send

    async def callback_first(*args: object, **kwargs: object) -> HttpAnswer:
        await world.deliver({"id": "x_1", "state": "error"}, address=address)
        await world.forward()
        return await ask(*args, **kwargs)  # type: ignore[arg-type]

    world.sender.send = callback_first  # type: ignore[method-assign] # a callback comes while we ask
    world.answers = [answer({"state": "done", "result": {"words": 6}})]
    await world.run_until(NOW + timedelta(minutes=10))
    assert [subject for subject, _ in world.outcomes()] == ["job.failed"]
    [late] = [json.loads(m.body) for m in world.events("notice")]
    assert (late["type"], late["data"]["event_type"], late["data"]["result"], late["data"]["reason"]) == (
        "job.late_result",
        "poll",
        {"words": 6},
        "the job had ended as failed",
    )
    assert (polls(world), world.bus.scheduled) == (1, {})


async def test_a_callback_that_disagrees_with_a_poll_that_was_first_is_a_late_result(world: World) -> None:
    await world.start(provider="asked")
    address = world.callback_address()
    world.answers = [answer({"state": "done"})]
    await world.run_until(NOW + timedelta(minutes=10))
    await world.deliver({"id": "x_1", "state": "error"}, address=address)
    await world.forward()
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]
    assert [m.subject for m in world.events("notice")] == ["job.late_result"]
