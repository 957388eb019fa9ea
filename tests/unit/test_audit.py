"""What an audit finds, and mends."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.adapters.memory import MemoryJobStore
from services.audit import Audit, Overdue
from services.lifecycle import Ticked
from services.models import Ledger, Status
from tests.unit.conftest import NOW, World, said

HOUR = timedelta(hours=1)


async def lose_every_tick(world: World) -> None:
    world.bus.scheduled.clear()


async def test_a_quiet_service_adds_up_and_has_nothing_overdue(world: World) -> None:
    await world.start()
    ended = said(await world.start())["id"]
    await world.deliver({"state": "done", "result": {"words": 1}})
    await world.forward()
    report = await Audit(jobs=world.jobs)()
    assert (report.ledger, report.overdue) == (Ledger(accepted=2, settled=1, open=1), ())
    assert (await world.job(ended)).published


async def test_a_job_whose_tick_is_lost_gets_another_and_ends_by_its_deadline(world: World) -> None:
    job_id = said(await world.start())["id"]
    await lose_every_tick(world)
    world.clock.advance(HOUR + timedelta(minutes=11))
    report = await Audit(jobs=world.jobs)()
    assert report.overdue == (
        Overdue(job_id=job_id, provider="acme", status=Status.RUNNING, due_at=NOW + HOUR, mended=True),
    )
    await world.run_until(world.clock.now() + timedelta(minutes=1))
    job = await world.job(job_id)
    assert (job.status, job.published) == (Status.EXPIRED, True)
    assert "tick.lost" in [entry.event for entry in job.history]
    assert [subject for subject, _ in world.outcomes()] == ["job.expired"]


async def test_a_start_whose_tick_is_lost_is_tried_again_long_before_its_deadline(world: World) -> None:
    job_id = said(await world.start(prefer="respond-async"))["id"]
    await lose_every_tick(world)
    world.clock.advance(timedelta(minutes=11))
    await Audit(jobs=world.jobs)()
    await world.run_until(world.clock.now() + timedelta(minutes=1))
    assert (await world.job(job_id)).status is Status.RUNNING


async def test_an_outcome_that_was_never_published_is(world: World) -> None:
    job_id = said(await world.start())["id"]
    stored = await world.store.load(job_id)
    assert stored is not None
    unpublished = replace(stored.job, status=Status.SUCCEEDED, settled_at=NOW, tick_at=NOW)
    await world.store.save(unpublished, stored.version)
    await lose_every_tick(world)
    world.clock.advance(timedelta(minutes=11))
    await Audit(jobs=world.jobs)()
    assert [subject for subject, _ in world.outcomes()] == ["job.succeeded"]
    assert (await world.store.ledger()).open == 0
    assert world.bus.scheduled == {}


async def test_a_job_is_left_alone_until_it_is_overdue_for_ten_minutes(world: World) -> None:
    await world.start(prefer="respond-async")
    await lose_every_tick(world)
    world.clock.advance(timedelta(minutes=10))
    assert (await Audit(jobs=world.jobs)()).overdue == ()


async def test_a_mended_job_is_not_overdue_again_and_its_old_tick_does_nothing(world: World) -> None:
    await world.start(prefer="respond-async")
    [(_, lost)] = world.bus.scheduled.values()
    await lose_every_tick(world)
    world.clock.advance(timedelta(minutes=11))
    await Audit(jobs=world.jobs)()
    before = len(world.sender.requests)
    await world.advance(lost)
    assert (len(world.sender.requests), len(world.bus.scheduled)) == (before, 1)
    assert (await Audit(jobs=world.jobs)()).overdue == ()


async def test_a_dry_run_changes_nothing(world: World) -> None:
    job_id = said(await world.start(prefer="respond-async"))["id"]
    await lose_every_tick(world)
    world.clock.advance(timedelta(minutes=11))
    before = await world.job(job_id)
    [overdue] = (await Audit(jobs=world.jobs)(mend=False)).overdue
    assert (overdue.job_id, overdue.mended) == (job_id, False)
    assert (await world.job(job_id), world.bus.scheduled) == (before, {})


async def test_a_job_that_moved_since_it_was_listed_is_left_alone(world: World) -> None:
    class AsOfBefore(MemoryJobStore):
        async def overdue(self, before: datetime, limit: int) -> Sequence[str]:
            return [*self._rows, "gone", *await super().overdue(before, limit)]

    world.store = AsOfBefore()
    world.__post_init__()
    job_id = said(await world.start())["id"]
    before = await world.job(job_id)
    assert (await Audit(jobs=world.jobs)()).overdue == ()
    assert await world.job(job_id) == before


async def test_a_job_of_a_provider_that_is_gone_is_reported_and_does_not_hold_up_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.start(prefer="respond-async")
    await world.start(prefer="respond-async", provider="unsigned")
    await lose_every_tick(world)
    del world.jobs.attempt.providers["acme"]  # type: ignore[attr-defined] # the registry of this world is a dict
    world.clock.advance(timedelta(minutes=11))
    report = await Audit(jobs=world.jobs)()
    assert {one.provider: one.mended for one in report.overdue} == {"acme": False, "unsigned": True}
    assert "audit.not_mended" in caplog.messages


async def test_a_stale_tick_of_a_provider_that_is_gone_is_not_put_back(world: World) -> None:
    job_id = said(await world.start())["id"]
    [(_, waiting)] = world.bus.scheduled.values()
    job = await world.job(job_id)
    assert job.tick > 1
    del world.jobs.attempt.providers["acme"]  # type: ignore[attr-defined] # the registry of this world is a dict
    assert await world.jobs.tell(job_id, Ticked(number=1, at=NOW)) == job
    assert [message for _, message in world.bus.scheduled.values()] == [waiting]


async def test_a_ledger_that_does_not_add_up_is_an_error_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.start()
    world.store._due.clear()
    with caplog.at_level(logging.INFO):
        report = await Audit(jobs=world.jobs)()
    assert not report.ledger.balanced
    assert [record.levelname for record in caplog.records if record.message == "audit.unbalanced"] == [
        "ERROR"
    ]
