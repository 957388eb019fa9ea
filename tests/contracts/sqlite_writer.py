"""Another process on the same SQLite file: `python -m tests.contracts.sqlite_writer create|count FILE`."""

import asyncio
import itertools
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from services.adapters.sqlite import SqliteJobStore
from services.errors import AlreadyExists, VersionConflict

from .samples import A_JOB


async def create_for_ever(store: SqliteJobStore) -> None:
    """Print each id once its job is acknowledged."""

    async def one_after_another(worker: int) -> None:
        for number in itertools.count():
            job = replace(A_JOB, id=f"{worker}-{number}")
            await store.create(job)
            print(job.id, flush=True)

    await asyncio.gather(*(one_after_another(worker) for worker in range(4)))


async def count(store: SqliteJobStore) -> None:
    """Add one to a job's attempts, 25 times, against whoever does the same; begin at a line on stdin."""
    print("ready", flush=True)
    sys.stdin.readline()
    with suppress(AlreadyExists):
        await store.create(replace(A_JOB, attempts=0))
    done = 0
    while done < 25:
        stored = await store.load(A_JOB.id)
        assert stored is not None
        with suppress(VersionConflict):
            await store.save(replace(stored.job, attempts=stored.job.attempts + 1), stored.version)
            done += 1
    await store.close()


if __name__ == "__main__":
    work = {"create": create_for_ever, "count": count}[sys.argv[1]]
    asyncio.run(work(SqliteJobStore(Path(sys.argv[2]))))
