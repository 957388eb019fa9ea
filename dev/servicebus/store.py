"""A broker's messages in one SQLite file. What `write` has returned from survives kill -9."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .broker import Changes, Message, State
from .message import decode

_VERSION: Final = 2
_STATES: Final = """
CREATE TABLE states (mailbox TEXT NOT NULL, session_id TEXT NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (mailbox, session_id)) WITHOUT ROWID;
"""
_TABLES: Final = """
CREATE TABLE messages (
    mailbox TEXT NOT NULL, sequence INTEGER NOT NULL, content BLOB NOT NULL, enqueued_at INTEGER NOT NULL,
    ttl INTEGER, state INTEGER NOT NULL, due_at INTEGER, delivery_count INTEGER NOT NULL,
    origin INTEGER NOT NULL, dead_letter_source TEXT, PRIMARY KEY (mailbox, sequence)
) WITHOUT ROWID;
CREATE TABLE seen (entity TEXT NOT NULL, message_id TEXT NOT NULL, until INTEGER NOT NULL,
    PRIMARY KEY (entity, message_id)) WITHOUT ROWID;
CREATE INDEX seen_until ON seen (until);
CREATE TABLE sequences (mailbox TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
"""


class Store:
    """One file, one writer."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it; raise ValueError if it is something else's."""
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} is not a store of this emulator: {error}") from error
        if version == 0 and tables == 0:
            self._db.executescript(f"BEGIN; {_TABLES} {_STATES} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version == 1:  # from before there were sessions
            self._db.executescript(f"BEGIN; {_STATES} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise ValueError(f"{path} is not a store of this emulator: it has version {version}")

    def read(self, now: int) -> Changes:
        """Return everything in the file, but for message ids that are forgotten by now."""
        self._db.execute("DELETE FROM seen WHERE until <= ?", (now,))
        changes = Changes()
        for row in self._db.execute("SELECT * FROM messages"):
            mailbox, sequence, content, enqueued_at, ttl, state, due_at, count, origin, source = row
            changes.messages[mailbox, sequence] = Message(
                content=decode(content),
                sequence=sequence,
                enqueued_at=enqueued_at,
                ttl=ttl,
                state=State(state),
                due_at=due_at,
                delivery_count=count,
                origin=origin,
                dead_letter_source=source,
            )
        changes.seen = {
            (entity, message_id): until
            for entity, message_id, until in self._db.execute("SELECT * FROM seen")
        }
        changes.sequences = dict(self._db.execute("SELECT * FROM sequences"))
        changes.states = {
            (mailbox, session_id): state
            for mailbox, session_id, state in self._db.execute("SELECT * FROM states")
        }
        return changes

    def write(self, changes: Changes, now: int) -> None:
        """Store these changes in one transaction; raise sqlite3.Error if nothing was stored."""
        kept = [(key, message) for key, message in changes.messages.items() if message is not None]
        gone = [key for key, message in changes.messages.items() if message is None]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._many("DELETE FROM messages WHERE mailbox = ? AND sequence = ?", gone)
            self._many(
                "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(mailbox, message) for (mailbox, _), message in kept],
            )
            self._many(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
                [(*key, until) for key, until in changes.seen.items()],
            )
            if changes.seen:
                self._db.execute("DELETE FROM seen WHERE until <= ?", (now,))
            self._many("INSERT OR REPLACE INTO sequences VALUES (?, ?)", changes.sequences.items())
            states = [(*key, state) for key, state in changes.states.items()]
            self._many(
                "INSERT OR REPLACE INTO states VALUES (?, ?, ?)",
                [one for one in states if one[2] is not None],
            )
            self._many(
                "DELETE FROM states WHERE mailbox = ? AND session_id = ?",
                [key for key, state in changes.states.items() if state is None],
            )
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _many(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._db.executemany(statement, rows)


def _row(mailbox: str, message: Message) -> tuple[object, ...]:
    return (
        mailbox,
        message.sequence,
        message.content.encode(ttl=message.content.ttl),
        message.enqueued_at,
        message.ttl,
        message.state,
        message.due_at,
        message.delivery_count,
        message.origin,
        message.dead_letter_source,
    )
