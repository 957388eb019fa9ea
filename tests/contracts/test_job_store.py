"""JobStore: what every store of jobs does, and what each can be put through."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.data.tables.aio import TableClient

from dev import azurite
from services.adapters import tables
from services.adapters.memory import ManualClock, MemoryJobStore
from services.adapters.sqlite import SqliteJobStore
from services.adapters.tables import TablesJobStore
from services.errors import AlreadyExists, OperatorError, Unavailable, VersionConflict
from services.models import Job, Ledger, Pace, Status, Stored, Version
from services.pace import Paces
from services.ports import JobStore
from services.providers import built_in
from services.providers.base import RateLimit

from .samples import A_FAILED_JOB, A_JOB, NOW

LATER = NOW + timedelta(minutes=10)
ROOT = Path(__file__).parents[2]
PATIENT = timedelta(seconds=60)


def a_table(storage: azurite.Running, **options: object) -> TableClient:
    name = f"t{uuid4().hex}"
    return TableClient.from_connection_string(storage.connection_string, name, **options)


@pytest.fixture(params=["memory", "sqlite", "tables"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobStore]:
    if request.param == "memory":
        yield MemoryJobStore()
    elif request.param == "sqlite":
        sqlite_store = SqliteJobStore(tmp_path / "jobs.sqlite")
        yield sqlite_store
        await sqlite_store.close()
    else:
        table = a_table(request.getfixturevalue("storage"))
        tables_store = TablesJobStore(table, budget=PATIENT)
        yield tables_store
        await table.delete_table()
        await tables_store.close()


async def loaded(store: JobStore, job_id: str) -> Stored:
    stored = await store.load(job_id)
    assert stored is not None
    return stored


@pytest.mark.parametrize("job", [A_JOB, A_FAILED_JOB], ids=["running", "failed"])
async def test_a_created_job_is_loaded_as_it_was(store: JobStore, job: Job) -> None:
    version = await store.create(job)
    assert await store.load(job.id) == Stored(job=job, version=version)


async def test_a_job_that_was_never_created_is_none(store: JobStore) -> None:
    assert await store.load("nobody") is None


async def test_a_second_create_is_refused_and_the_first_stands(store: JobStore) -> None:
    await store.create(A_JOB)
    with pytest.raises(AlreadyExists):
        await store.create(replace(A_JOB, attempts=9))
    assert (await loaded(store, A_JOB.id)).job == A_JOB


async def test_ids_that_differ_in_case_are_different_jobs(store: JobStore) -> None:
    await store.create(replace(A_JOB, id="Ab", attempts=1))
    await store.create(replace(A_JOB, id="aB", attempts=2))
    assert (await loaded(store, "Ab")).job.attempts == 1


async def test_a_save_replaces_the_job_and_gives_the_version_for_the_next(store: JobStore) -> None:
    first = await store.create(A_JOB)
    second = await store.save(replace(A_JOB, attempts=3), first)
    third = await store.save(replace(A_JOB, attempts=4), second)
    assert await store.load(A_JOB.id) == Stored(job=replace(A_JOB, attempts=4), version=third)


async def test_a_save_with_an_older_version_is_refused_and_changes_nothing(store: JobStore) -> None:
    first = await store.create(A_JOB)
    await store.save(replace(A_JOB, attempts=3), first)
    with pytest.raises(VersionConflict):
        await store.save(replace(A_JOB, attempts=9), first)
    assert (await loaded(store, A_JOB.id)).job.attempts == 3


async def test_the_same_document_saved_twice_still_conflicts(store: JobStore) -> None:
    first = await store.create(A_JOB)
    await store.save(A_JOB, first)
    with pytest.raises(VersionConflict):
        await store.save(A_JOB, first)


async def test_a_job_that_is_not_there_cannot_be_saved(store: JobStore) -> None:
    version = await store.create(A_JOB)
    with pytest.raises(VersionConflict):
        await store.save(replace(A_JOB, id="gone"), version)
    assert await store.load("gone") is None


async def test_of_many_creates_at_once_one_wins(store: JobStore) -> None:
    results = await asyncio.gather(
        *(store.create(replace(A_JOB, attempts=n)) for n in range(50)), return_exceptions=True
    )
    winners = [n for n, result in enumerate(results) if isinstance(result, str)]
    assert sum(isinstance(result, AlreadyExists) for result in results) == 49
    assert [(await loaded(store, A_JOB.id)).job.attempts] == winners


async def test_of_200_saves_at_once_one_wins_each_round(store: JobStore) -> None:
    version = await store.create(A_JOB)
    for _ in range(3):
        results = await asyncio.gather(
            *(store.save(replace(A_JOB, attempts=n), version) for n in range(200)), return_exceptions=True
        )
        winners = [n for n, result in enumerate(results) if isinstance(result, str)]
        assert sum(isinstance(result, VersionConflict) for result in results) == 199
        stored = await loaded(store, A_JOB.id)
        assert [stored.job.attempts] == winners
        assert stored.version == results[winners[0]]
        version = stored.version


async def test_a_job_of_900_kilobytes_is_kept_and_can_become_small_again(store: JobStore) -> None:
    large = replace(A_JOB, input={"text": "€" * 300_000})
    version = await store.create(large)
    assert (await loaded(store, A_JOB.id)).job == large
    await store.save(A_JOB, version)
    assert (await loaded(store, A_JOB.id)).job == A_JOB


@pytest.mark.parametrize(
    "external_id",
    [
        "plain",
        "with/slash\\back#hash?question%25",
        "line\nbreak\ttab\x00nul",
        "\N{GRINNING FACE} ümlaut",
        'quote\' or "1"=1; --',
        "x" * 2_000,
        "\ud800",
    ],
    ids=["plain", "reserved", "control", "unicode", "quotes", "long", "lone-surrogate"],
)
async def test_a_job_is_found_by_any_external_id(store: JobStore, external_id: str) -> None:
    await store.link("replicate", external_id, "job-1")
    assert await store.find("replicate", external_id) == "job-1"
    assert await store.find("replicate", external_id + "x") is None


async def test_an_external_id_that_nobody_noted_is_none(store: JobStore) -> None:
    assert await store.find("replicate", "nobody") is None


async def test_the_first_note_of_an_external_id_stands(store: JobStore) -> None:
    await store.link("replicate", "ext", "job-1")
    await store.link("replicate", "ext", "job-1")
    await store.link("replicate", "ext", "job-2")
    assert await store.find("replicate", "ext") == "job-1"


async def test_providers_may_use_the_same_external_id(store: JobStore) -> None:
    await store.link("replicate", "ext", "job-1")
    await store.link("stripe", "ext", "job-2")
    assert await store.find("replicate", "ext") == "job-1"
    assert await store.find("stripe", "ext") == "job-2"


async def test_a_link_is_no_job(store: JobStore) -> None:
    await store.link("replicate", "job-1", "job-1")
    assert await store.load("job-1") is None


async def test_an_empty_store_has_counted_nothing(store: JobStore) -> None:
    assert await store.overdue(LATER, 10) == []
    assert await store.ledger() == Ledger(accepted=0, settled=0, open=0)


async def test_the_ledger_counts_what_was_accepted_settled_and_is_open(store: JobStore) -> None:
    for number in range(6):
        await store.create(replace(A_JOB, id=f"job-{number}"))
    await store.create(replace(A_FAILED_JOB, id="ended-at-once"))
    for number in range(2):
        stored = await loaded(store, f"job-{number}")
        settled = replace(stored.job, status=Status.FAILED, settled_at=NOW)
        version = await store.save(settled, stored.version)
        await store.save(replace(settled, published=True), version)
    assert await store.ledger() == Ledger(accepted=7, settled=3, open=4)


async def test_a_settled_job_is_open_until_its_outcome_is_published(store: JobStore) -> None:
    version = await store.create(A_JOB)
    await store.save(replace(A_JOB, status=Status.FAILED, settled_at=NOW), version)
    assert await store.ledger() == Ledger(accepted=1, settled=0, open=1)


async def test_what_is_refused_counts_nothing(store: JobStore) -> None:
    version = await store.create(A_JOB)
    await store.save(replace(A_JOB, attempts=3), version)
    with pytest.raises(AlreadyExists):
        await store.create(replace(A_FAILED_JOB, id=A_JOB.id))
    with pytest.raises(VersionConflict):
        await store.save(replace(A_FAILED_JOB, id=A_JOB.id), version)
    assert await store.ledger() == Ledger(accepted=1, settled=0, open=1)


async def test_a_job_that_ended_is_counted_once_however_often_it_is_saved(store: JobStore) -> None:
    job = replace(A_FAILED_JOB, published=False)
    version = await store.create(job)
    for attempts in range(3):
        version = await store.save(replace(A_FAILED_JOB, attempts=attempts), version)
    stored = await loaded(store, job.id)
    await store.save(replace(stored.job, attempts=9), stored.version)
    assert await store.ledger() == Ledger(accepted=1, settled=1, open=0)


async def test_of_many_jobs_at_once_each_is_counted(store: JobStore) -> None:
    async def live(number: int) -> None:
        job = replace(A_FAILED_JOB, id=f"job-{number}", published=False)
        version = await store.create(job)
        await store.save(replace(job, published=True), version)

    await asyncio.gather(*map(live, range(60)))
    assert await store.ledger() == Ledger(accepted=60, settled=60, open=0)


async def test_open_jobs_that_were_due_before_a_moment_are_listed_and_no_others(store: JobStore) -> None:
    await store.create(replace(A_JOB, id="late", tick_at=NOW))
    await store.create(replace(A_JOB, id="in-time", tick_at=LATER))
    await store.create(replace(A_JOB, id="without-tick", tick_at=None, deadline_at=NOW))
    await store.create(replace(A_FAILED_JOB, id="ended", tick_at=NOW))
    assert sorted(await store.overdue(LATER, 10)) == ["late", "without-tick"]
    assert len(await store.overdue(LATER, 1)) == 1


async def test_a_job_is_due_when_its_latest_save_says(store: JobStore) -> None:
    version = await store.create(replace(A_JOB, tick_at=LATER))
    version = await store.save(replace(A_JOB, tick_at=NOW), version)
    assert await store.overdue(LATER, 10) == ["job-1"]
    version = await store.save(replace(A_JOB, tick_at=LATER), version)
    assert await store.overdue(LATER, 10) == []
    version = await store.save(replace(A_JOB, tick_at=NOW), version)
    failed = replace(A_JOB, status=Status.FAILED, settled_at=NOW, tick_at=NOW)
    version = await store.save(failed, version)
    assert await store.overdue(LATER, 10) == ["job-1"]
    await store.save(replace(failed, published=True), version)
    assert await store.overdue(LATER, 10) == []


async def test_times_in_other_zones_are_compared_as_moments(store: JobStore) -> None:
    ahead = timezone(timedelta(hours=5))
    await store.create(replace(A_JOB, id="late", tick_at=NOW.astimezone(ahead)))
    await store.create(replace(A_JOB, id="in-time", tick_at=LATER.astimezone(UTC)))
    assert await store.overdue((NOW + timedelta(seconds=1)).astimezone(ahead), 10) == ["late"]


async def test_a_pace_is_loaded_as_it_was_saved(store: JobStore) -> None:
    assert await store.load_pace("stripe") is None
    pace = Pace(troubles=3, rests_until=NOW, trial_until=LATER, next_at=NOW)
    version = await store.save_pace("stripe", pace, None)
    assert await store.load_pace("stripe") == (pace, version)
    second = await store.save_pace("stripe", Pace(), version)
    assert await store.load_pace("stripe") == (Pace(), second)
    assert await store.load_pace("replicate") is None


async def test_a_pace_that_somebody_saved_first_is_not_replaced(store: JobStore) -> None:
    with pytest.raises(VersionConflict):
        await store.save_pace("stripe", Pace(), Version('W/"1"'))
    version = await store.save_pace("stripe", Pace(troubles=1), None)
    await store.save_pace("stripe", Pace(troubles=2), version)
    for stale in (None, version):
        with pytest.raises(VersionConflict):
            await store.save_pace("stripe", Pace(troubles=9), stale)
    known = await store.load_pace("stripe")
    assert known is not None
    assert known[0] == Pace(troubles=2)


async def test_of_50_saves_of_a_pace_at_once_one_wins(store: JobStore) -> None:
    first = await store.save_pace("stripe", Pace(), None)
    for version in (None, first):
        results = await asyncio.gather(
            *(store.save_pace("stripe", Pace(troubles=n), version) for n in range(50)), return_exceptions=True
        )
        assert sum(isinstance(result, VersionConflict) for result in results) == (
            50 if version is None else 49
        )


async def test_instances_that_ask_at_once_keep_a_rate_limit_together(store: JobStore) -> None:
    weather, job = built_in("weather"), replace(A_JOB, turn_at=None)
    limited = replace(weather, rate_limit=RateLimit(starts=10, per=timedelta(seconds=1)))
    [operation] = weather.operations.values()
    clock = ManualClock(NOW)
    instances = [Paces(store=store, clock=clock, chance=lambda: 0.5) for _ in range(4)]

    async def gone_or_turn(one: Paces) -> datetime | None:
        while (held := await one.hold(limited, operation, job)) and held.turn_at is None:
            pass  # too many at once: it is to ask again
        return held.turn_at if held else None

    turns = await asyncio.gather(*(gone_or_turn(one) for one in instances for _ in range(10)))
    assert turns.count(None) == 1
    assert sorted(turn for turn in turns if turn) == [
        NOW + timedelta(milliseconds=100 * n) for n in range(1, 40)
    ]


async def test_neither_links_nor_paces_are_jobs(store: JobStore) -> None:
    await store.link("stripe", "ext", "job-1")
    await store.save_pace("stripe", Pace(), None)
    assert await store.ledger() == Ledger(accepted=0, settled=0, open=0)


async def test_a_memory_store_that_is_away_says_so() -> None:
    store = MemoryJobStore()
    store.available = False
    for call in (
        store.create(A_JOB),
        store.load("a"),
        store.save(A_JOB, Version("1")),
        store.find("a", "b"),
        store.ledger(),
        store.overdue(NOW, 1),
        store.load_pace("a"),
        store.save_pace("a", Pace(), None),
    ):
        with pytest.raises(Unavailable):
            await call


# SQLite


async def test_six_processes_open_one_new_sqlite_file_and_count_in_it_without_losing_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.sqlite"
    command = [sys.executable, "-m", "tests.contracts.sqlite_writer", "count", str(path)]
    counting = [
        await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(6)
    ]
    for process in counting:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    await asyncio.gather(*(process.communicate(b"go\n") for process in counting))
    assert [process.returncode for process in counting] == [0] * 6
    store = SqliteJobStore(path)
    assert (await loaded(store, A_JOB.id)).job.attempts == 150
    await store.close()


class BusyOnce(sqlite3.Connection):
    """Answers as SQLite does, about once in 70 times, when many processes open a new file at once."""

    answered = False

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement.startswith("PRAGMA journal_mode") and not BusyOnce.answered:
            BusyOnce.answered = True
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return super().execute(statement, *values)


async def test_a_sqlite_file_that_others_open_at_the_same_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=BusyOnce))
    store = SqliteJobStore(tmp_path / "jobs.sqlite")
    await store.create(A_JOB)
    assert BusyOnce.answered
    await store.close()


async def test_what_sqlite_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    process = subprocess.Popen(  # noqa: ASYNC220 nothing else runs in this loop meanwhile
        [sys.executable, "-m", "tests.contracts.sqlite_writer", "create", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(100)]
    process.send_signal(signal.SIGKILL)
    # the last line may have been cut
    acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()

    store = SqliteJobStore(path)
    for job_id in acknowledged:
        assert (await loaded(store, job_id)).job == replace(A_JOB, id=job_id)
    await store.close()


async def test_waiting_for_a_locked_sqlite_file_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    store = SqliteJobStore(path, patience=timedelta(seconds=30))
    version = await store.create(A_JOB)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    save = asyncio.create_task(store.save(replace(A_JOB, attempts=3), version))
    done, _ = await asyncio.wait({save}, timeout=0.2)
    assert not done
    other.execute("ROLLBACK")
    other.close()
    await save
    await store.close()


async def test_a_sqlite_file_locked_for_too_long_is_unavailable_and_works_later(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    store = SqliteJobStore(path, patience=timedelta(milliseconds=50))
    version = await store.create(A_JOB)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await store.save(replace(A_JOB, attempts=3), version)
    other.close()
    await store.save(replace(A_JOB, attempts=3), version)
    await store.close()


async def test_a_sqlite_file_that_cannot_be_opened_is_unavailable_and_works_later(tmp_path: Path) -> None:
    in_the_way = tmp_path / "later"
    in_the_way.write_bytes(b"")
    store = SqliteJobStore(in_the_way / "jobs.sqlite")
    with pytest.raises(Unavailable):
        await store.create(A_JOB)
    in_the_way.unlink()
    await store.create(A_JOB)
    await store.close()


async def test_a_file_that_is_not_sqlite_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"something else, and long enough to be looked at" * 100)
    store = SqliteJobStore(path)
    with pytest.raises(Unavailable):
        await store.load("job-1")
    await store.close()


async def test_a_sqlite_file_of_another_version_is_for_the_operator(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as older:
        older.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, version TEXT, document BLOB)")
    older.close()
    store = SqliteJobStore(path)
    with pytest.raises(
        OperatorError, match=r"jobs\.sqlite was written by another version of Hookbus: move it away"
    ):
        await store.create(A_JOB)
    await store.close()


async def test_sqlite_syncs_each_commit_to_the_disk(tmp_path: Path) -> None:
    store = SqliteJobStore(tmp_path / "jobs.sqlite")
    synchronous, journal = await store._read("PRAGMA synchronous"), await store._read("PRAGMA journal_mode")
    assert f"{synchronous} {journal}" == "(2,) ('wal',)"
    await store.close()


# Table Storage


class LosesAnswers(AsyncHTTPPolicy[Any, Any]):
    """Lets requests through; while armed, the answer to the next one is lost and becomes a 503, once.

    That is what a proxy's or a front end's time-out looks like, and the SDK then sends the request again.
    """

    def __init__(self) -> None:
        self.armed = False

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        answer = await self.next.send(request)
        if self.armed:
            self.armed = False
            answer.http_response.status_code = 503
        return answer


@pytest.fixture
def losing() -> LosesAnswers:
    return LosesAnswers()


@pytest.fixture
async def flaky_store(storage: azurite.Running, losing: LosesAnswers) -> AsyncIterator[TablesJobStore]:
    table = a_table(storage, per_retry_policies=[losing], retry_backoff_factor=0.01)
    await table.create_table()
    store = TablesJobStore(table)
    yield store
    await table.delete_table()
    await store.close()


async def test_a_create_that_the_sdk_repeats_does_not_conflict_with_itself(
    flaky_store: TablesJobStore, losing: LosesAnswers
) -> None:
    losing.armed = True
    version = await flaky_store.create(A_JOB)
    assert not losing.armed
    assert await flaky_store.load(A_JOB.id) == Stored(job=A_JOB, version=version)


async def test_a_save_that_the_sdk_repeats_does_not_conflict_with_itself(
    flaky_store: TablesJobStore, losing: LosesAnswers
) -> None:
    version = await flaky_store.create(A_JOB)
    losing.armed = True
    version = await flaky_store.save(replace(A_JOB, attempts=3), version)
    assert not losing.armed
    await flaky_store.save(replace(A_JOB, attempts=4), version)


async def test_a_smaller_job_leaves_no_part_of_a_larger_one_in_its_entity(storage: azurite.Running) -> None:
    table = a_table(storage)
    store = TablesJobStore(table)
    version = await store.create(replace(A_JOB, input={"text": "x" * 200_000}))
    await store.save(A_JOB, version)
    entity = await anext(aiter(table.query_entities("RowKey eq 'job-1'")))
    assert sorted(entity) == [
        "PartitionKey", "RowKey", "chunks", "deadline_at", "document0", "provider", "status", "write",
    ]  # fmt: skip
    assert entity["status"] == "running"
    assert entity["RowKey"] == "job-1"
    await table.delete_table()
    await store.close()


async def test_a_job_that_no_entity_can_hold_is_a_value_error(storage: azurite.Running) -> None:
    store = TablesJobStore(a_table(storage))
    with pytest.raises(ValueError, match="at most 1000000 bytes: put its result in the payload store"):
        await store.create(replace(A_JOB, input={"text": "x" * 1_000_000}))
    await store.close()


async def test_jobs_are_spread_over_partitions(storage: azurite.Running) -> None:
    table = a_table(storage)
    store = TablesJobStore(table)
    for number in range(20):
        await store.create(replace(A_JOB, id=f"job-{number}"))
    partitions = {entity["PartitionKey"] async for entity in table.list_entities(select="PartitionKey")}
    assert len(partitions) > 10
    await table.delete_table()
    await store.close()


async def test_a_count_that_is_crossed_by_a_write_is_taken_again(storage: azurite.Running) -> None:
    class Crossed(TablesJobStore):
        waiting: ClassVar = [replace(A_JOB, id=f"job-{number}") for number in range(2, 200)]

        async def _row_names(self, query: str, values: dict[str, Any]) -> AsyncIterator[str]:
            for job in self.waiting:
                if tables._partition(job.id.encode()) == values["partition"]:
                    self.waiting.remove(job)
                    await self.create(job)
                    break
            async for name in super()._row_names(query, values):
                yield name

    table = a_table(storage)
    store = Crossed(table, budget=PATIENT)
    await store.create(A_JOB)
    ledger = await store.ledger()
    assert ledger.accepted == ledger.open > 1
    await table.delete_table()
    await store.close()


async def test_tables_that_are_away_are_unavailable_and_work_when_they_are_back(tmp_path: Path) -> None:
    with azurite.start(folder=tmp_path) as storage:
        table = TableClient.from_connection_string(storage.connection_string, "jobs", retry_total=0)
        store = TablesJobStore(table)
        version = await store.create(A_JOB)
        storage.kill()
    for call in (
        store.create(A_FAILED_JOB),
        store.load("job-1"),
        store.save(A_JOB, version),
        store.link("stripe", "a", "b"),
        store.find("stripe", "a"),
        store.ledger(),
        store.overdue(NOW, 1),
        store.load_pace("stripe"),
        store.save_pace("stripe", Pace(), None),
    ):
        with pytest.raises(Unavailable, match=r"^the job table cannot be reached$"):
            await call
    with azurite.start(folder=tmp_path, blob_port=storage.blob_port, table_port=storage.table_port):
        await store.create(replace(A_JOB, id="after", status=Status.AMBIGUOUS))
        assert (await loaded(store, "after")).job.status == "ambiguous"
    await store.close()


async def test_tables_whose_answer_breaks_off_are_unavailable() -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(break_off, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with_port = azurite.Running(blob_port=port, table_port=port, process=None)  # type: ignore[arg-type]  # only its address is used
    store = TablesJobStore(a_table(with_port, retry_total=0))
    for call in (
        store.create(A_JOB),
        store.load("job-1"),
        store.save(A_JOB, Version(' W/"1"')),
        store.link("stripe", "a", "b"),
        store.find("stripe", "a"),
        store.ledger(),
        store.load_pace("stripe"),
        store.save_pace("stripe", Pace(), None),
    ):
        with pytest.raises(Unavailable, match=r"^the job table cannot be reached$"):
            await call
    await store.close()
    server.close()


async def test_tables_that_do_not_answer_are_unavailable_within_the_budget() -> None:
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(3600), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    with_port = azurite.Running(blob_port=port, table_port=port, process=None)  # type: ignore[arg-type]  # only its address is used
    store = TablesJobStore(a_table(with_port), budget=timedelta(milliseconds=100))
    with pytest.raises(Unavailable):
        await store.load("job-1")
    await store.close()
    silent.close()
