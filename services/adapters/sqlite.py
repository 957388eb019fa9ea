"""Jobs in one SQLite file: what was acknowledged survives kill -9, and a power cut too.

WAL lets several processes use the file at once; synchronous=FULL syncs the log at each commit, so a
write is durable when it returns (https://www.sqlite.org/pragma.html#pragma_synchronous). One thread
owns the connection, so that the event loop never waits for the disk.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from services.errors import AlreadyExists, OperatorError, Unavailable, VersionConflict
from services.models import (
    Job,
    Ledger,
    Pace,
    Stored,
    Version,
    job_from_json,
    job_to_json,
    pace_from_json,
    pace_to_json,
)

T = TypeVar("T")

_LAYOUT = 1
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, version TEXT NOT NULL, document BLOB NOT NULL, due_at TEXT
);
CREATE INDEX IF NOT EXISTS open_jobs ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS links (
    provider TEXT, external_id BLOB, job_id TEXT NOT NULL, PRIMARY KEY (provider, external_id)
);
CREATE TABLE IF NOT EXISTS paces (provider TEXT PRIMARY KEY, version TEXT NOT NULL, document BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (only_row INTEGER PRIMARY KEY, accepted INTEGER, settled INTEGER);
INSERT INTO ledger VALUES (1, 0, 0) ON CONFLICT DO NOTHING;
CREATE TRIGGER IF NOT EXISTS accepted AFTER INSERT ON jobs BEGIN
    UPDATE ledger SET accepted = accepted + 1, settled = settled + (NEW.due_at IS NULL);
END;
CREATE TRIGGER IF NOT EXISTS settled AFTER UPDATE ON jobs
WHEN OLD.due_at IS NOT NULL AND NEW.due_at IS NULL BEGIN
    UPDATE ledger SET settled = settled + 1;
END;
PRAGMA user_version = 1;
COMMIT;
"""


class SqliteJobStore:
    """Jobs in a file; a version is a random token. Waits at most `patience` for other processes."""

    def __init__(self, path: Path, *, patience: timedelta = timedelta(seconds=5)) -> None:
        self._path = path
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def create(self, job: Job) -> Version:
        version = _new_version()
        if not await self._write(
            "INSERT INTO jobs VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            job.id,
            version,
            job_to_json(job),
            _due(job),
        ):
            raise AlreadyExists(job.id)
        return version

    async def load(self, job_id: str) -> Stored | None:
        row = await self._read("SELECT document, version FROM jobs WHERE id = ?", job_id)
        return None if row is None else Stored(job=job_from_json(row[0]), version=Version(str(row[1])))

    async def save(self, job: Job, version: Version) -> Version:
        new_version = _new_version()
        if not await self._write(
            "UPDATE jobs SET version = ?, document = ?, due_at = ? WHERE id = ? AND version = ?",
            new_version,
            job_to_json(job),
            _due(job),
            job.id,
            version,
        ):
            raise VersionConflict(job.id)
        return new_version

    async def link(self, provider: str, external_id: str, job_id: str) -> None:
        await self._write(
            "INSERT INTO links VALUES (?, ?, ?) ON CONFLICT DO NOTHING", provider, _key(external_id), job_id
        )

    async def find(self, provider: str, external_id: str) -> str | None:
        row = await self._read(
            "SELECT job_id FROM links WHERE provider = ? AND external_id = ?", provider, _key(external_id)
        )
        return None if row is None else str(row[0])

    async def ledger(self) -> Ledger:
        row = await self._read(
            "SELECT accepted, settled, (SELECT count(*) FROM jobs WHERE due_at IS NOT NULL) FROM ledger"
        )
        accepted, settled, still_open = row or (0, 0, 0)
        return Ledger(accepted=int(accepted), settled=int(settled), open=int(still_open))

    async def overdue(self, before: datetime, limit: int) -> Sequence[str]:
        query = "SELECT id FROM jobs WHERE due_at < ? ORDER BY due_at LIMIT ?"
        values = (_sortable(before), limit)
        rows = await self._run(lambda connection: connection.execute(query, values).fetchall())
        return [str(job_id) for (job_id,) in rows]

    async def load_pace(self, provider: str) -> tuple[Pace, Version] | None:
        row = await self._read("SELECT document, version FROM paces WHERE provider = ?", provider)
        return None if row is None else (pace_from_json(row[0]), Version(str(row[1])))

    async def save_pace(self, provider: str, pace: Pace, version: Version | None) -> Version:
        new_version, document = _new_version(), pace_to_json(pace)
        if version is None:
            insert = "INSERT INTO paces VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            saved = await self._write(insert, provider, new_version, document)
        else:
            update = "UPDATE paces SET version = ?, document = ? WHERE provider = ? AND version = ?"
            saved = await self._write(update, new_version, document, provider, version)
        if not saved:
            raise VersionConflict(provider)
        return new_version

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def _write(self, statement: str, *values: str | bytes | None) -> bool:
        return await self._run(lambda connection: connection.execute(statement, values).rowcount == 1)

    async def _read(self, statement: str, *values: str | bytes) -> tuple[str | bytes, ...] | None:
        return await self._run(lambda connection: connection.execute(statement, values).fetchone())

    async def _run(self, statement: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._attempt, statement)

    def _attempt(self, statement: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return statement(self._connection)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable("the SQLite file cannot be used") from error

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=self._patience.total_seconds(), isolation_level=None)
        try:
            self._turn_wal_on(connection)
            connection.execute("PRAGMA synchronous = FULL")
            self._lay_out(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _lay_out(self, connection: sqlite3.Connection) -> None:
        query = "SELECT (SELECT user_version FROM pragma_user_version), count(*) FROM sqlite_schema"
        layout, tables = connection.execute(query).fetchone()
        if tables and layout != _LAYOUT:
            raise OperatorError(
                f"{self._path} was written by another version of Hookbus: move it away, or name another file"
            )
        if not tables:
            connection.executescript(_TABLES)

    def _turn_wal_on(self, connection: sqlite3.Connection) -> None:
        last = time.monotonic() + self._patience.total_seconds()
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # SQLite does not wait by itself when another process is doing the same
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                    raise
                time.sleep(0.01)
            else:
                return

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _new_version() -> Version:
    return Version(uuid4().hex)


def _due(job: Job) -> str | None:
    return None if job.due_at is None else _sortable(job.due_at)


def _sortable(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _key(external_id: str) -> bytes:
    # JSON can carry lone surrogates, which no UTF-8 text column takes.
    return external_id.encode("utf-8", "surrogatepass")
