"""PayloadStore: bytes by name, in memory, in a directory, in blobs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import ContainerClient

from dev import azurite
from services.adapters.blobs import BlobPayloads
from services.adapters.directory import DirectoryPayloads
from services.adapters.memory import MemoryPayloads
from services.errors import Unavailable
from services.ports import PayloadStore

from .samples import NOW

REFUSED = {
    "empty": "",
    "up": "../secret",
    "up-inside": "a/../../secret",
    "dot": ".",
    "hidden": "a/.hidden",
    "absolute": "/etc/passwd",
    "trailing-slash": "a/",
    "double-slash": "a//b",
    "backslash": "a\\..\\b",
    "nul": "a\x00b",
    "newline-at-the-end": "a\n",
    "unicode": "ä",
    "unicode-digit": "\N{ARABIC-INDIC DIGIT ONE}",
    "percent": "a%2e",
    "question": "a?b",
    "tilde": "a~",
    "comma": "a,b",
    "513": "a" * 513,
}


def a_container(storage: azurite.Running, **options: Any) -> ContainerClient:
    name = f"c{uuid4().hex}"
    return ContainerClient.from_connection_string(storage.connection_string, name, **options)


@pytest.fixture(params=["memory", "directory", "blobs"])
async def payloads(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PayloadStore]:
    if request.param == "memory":
        yield MemoryPayloads()
    elif request.param == "directory":
        yield DirectoryPayloads(tmp_path / "payloads")
    else:
        blobs = BlobPayloads(a_container(request.getfixturevalue("storage")))
        yield blobs
        await blobs.close()


async def test_what_is_put_is_got_back(payloads: PayloadStore) -> None:
    await payloads.put("results/job-1.json", b'{"a": 1}')
    assert await payloads.get("results/job-1.json") == b'{"a": 1}'


@pytest.mark.parametrize("data", [b"", bytes(range(256)) * 20_000], ids=["empty", "5-megabytes"])
async def test_any_bytes_are_kept(payloads: PayloadStore, data: bytes) -> None:
    await payloads.put("a", data)
    assert await payloads.get("a") == data


async def test_a_second_put_replaces_the_first(payloads: PayloadStore) -> None:
    await payloads.put("a", b"a longer first")
    await payloads.put("a", b"second")
    assert await payloads.get("a") == b"second"
    assert await payloads.names("", 10) == ["a"]


async def test_what_was_never_put_is_none(payloads: PayloadStore) -> None:
    assert await payloads.get("a/b") is None
    await payloads.put("a/c", b"")
    assert await payloads.get("a/b") is None
    assert await payloads.get("a") is None


async def test_what_was_deleted_is_none_and_may_be_deleted_again(payloads: PayloadStore) -> None:
    await payloads.delete("a")
    await payloads.put("a", b"1")
    await payloads.delete("a")
    await payloads.delete("a")
    assert await payloads.get("a") is None
    assert await payloads.names("", 10) == []


async def test_names_are_listed_in_order_by_prefix_and_limit(payloads: PayloadStore) -> None:
    for name in ("spool/b", "spool/a/2", "spool/a/10", "spool-2/a", "Spool/a", "spool/a.json", "raw/a"):
        await payloads.put(name, b"")
    assert await payloads.names("spool/", 10) == ["spool/a.json", "spool/a/10", "spool/a/2", "spool/b"]
    assert await payloads.names("spool/a", 2) == ["spool/a.json", "spool/a/10"]
    assert await payloads.names("", 3) == ["Spool/a", "raw/a", "spool-2/a"]
    assert await payloads.names("nothing", 3) == []


async def test_nothing_is_listed_where_nothing_was_ever_put(payloads: PayloadStore) -> None:
    assert await payloads.names("", 10) == []


@pytest.mark.parametrize("prefix", ["../", "/", "a/../", "%2e"], ids=repr)
async def test_a_prefix_leads_nowhere_else(payloads: PayloadStore, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    await payloads.put("a/b", b"")
    assert await payloads.names(prefix, 10) == []


async def test_a_name_and_a_folder_of_the_same_name_live_together(payloads: PayloadStore) -> None:
    for name in ("a/b/c", "a", "a/b"):
        await payloads.put(name, name.encode())
    assert await payloads.names("", 10) == ["a", "a/b", "a/b/c"]
    assert [await payloads.get(name) for name in ("a", "a/b", "a/b/c")] == [b"a", b"a/b", b"a/b/c"]


@pytest.mark.parametrize(
    "name", ["a" * 512, f"{'b' * 200}/{'c' * 311}", "/".join("d" * 100), "A-Z_09.", "-", "a.b..c"]
)
async def test_every_allowed_name_works(payloads: PayloadStore, name: str) -> None:
    await payloads.put(name, b"1")
    assert await payloads.get(name) == b"1"
    assert await payloads.names(name[:300], 10) == [name]


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED.keys())
async def test_every_other_name_is_refused(payloads: PayloadStore, name: str) -> None:
    for call in (payloads.put(name, b""), payloads.get(name), payloads.delete(name)):
        with pytest.raises(ValueError, match="a payload's name is 1 to 512 of"):
            await call


async def test_an_address_names_the_payload_and_carries_no_query(payloads: PayloadStore) -> None:
    address = urlsplit(await payloads.put("results/job-1.json", b""))
    assert address.scheme
    assert address.path.endswith("/job-1.json")
    assert address.query == ""


async def test_a_memory_store_that_is_away_says_so() -> None:
    payloads = MemoryPayloads()
    payloads.available = False
    for call in (payloads.put("a", b""), payloads.get("a"), payloads.delete("a"), payloads.names("", 1)):
        with pytest.raises(Unavailable):
            await call


# A directory


def test_a_file_is_at_its_address(tmp_path: Path) -> None:
    address = asyncio.run(DirectoryPayloads(tmp_path / "ä b").put("a/b.json", b"1"))
    assert Path(unquote(urlsplit(address).path)).read_bytes() == b"1"


async def test_a_reader_sees_the_old_bytes_or_the_new_ones(tmp_path: Path) -> None:
    payloads = DirectoryPayloads(tmp_path)
    versions = [b"a" * 2_000_000, b"b" * 1_000_000]
    await payloads.put("x", versions[0])
    writing = asyncio.gather(*(payloads.put("x", versions[number % 2]) for number in range(30)))
    seen = [await payloads.get("x") for _ in range(30)]
    await writing
    assert all(data in versions for data in seen)


async def test_a_write_that_was_cut_short_is_not_listed(tmp_path: Path) -> None:
    payloads = DirectoryPayloads(tmp_path)
    await payloads.put("a/b", b"1")
    (tmp_path / "a," / ".cut-short").write_bytes(b"half")
    assert await payloads.names("", 10) == ["a/b"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()  # in the way of the file
    with pytest.raises(Unavailable):
        asyncio.run(DirectoryPayloads(tmp_path).put("a", b"1"))
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


async def test_a_directory_that_cannot_be_used_is_unavailable_and_works_later(tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(b"in the way")
    payloads = DirectoryPayloads(tmp_path / "root")
    with pytest.raises(Unavailable, match=r"^the payload directory cannot be used$"):
        await payloads.put("a", b"1")
    (tmp_path / "root").unlink()
    await payloads.put("a", b"1")
    assert await payloads.get("a") == b"1"


# Blob Storage


async def test_a_shared_access_signature_does_not_leak_into_the_address(storage: azurite.Running) -> None:
    container = a_container(storage)
    signature = generate_container_sas(
        azurite.ACCOUNT,
        container.container_name,
        azurite.KEY,
        permission=ContainerSasPermissions(read=True, write=True, create=True, list=True),
        start=NOW,
        expiry=NOW.replace(year=2999),
    )
    await container.create_container()
    payloads = BlobPayloads(ContainerClient.from_container_url(f"{container.url}?{signature}"))
    assert await payloads.put("a/b", b"1") == f"{container.url}/a/b"
    await payloads.close()
    await container.close()


async def test_more_names_than_a_page_holds_are_listed(storage: azurite.Running) -> None:
    container = a_container(storage)
    payloads = BlobPayloads(container)
    for number in range(12):
        await payloads.put(f"{number:02}", b"")
    assert len(await payloads.names("", 11)) == 11
    await payloads.close()


async def test_blobs_that_are_away_are_unavailable_and_work_when_they_are_back(tmp_path: Path) -> None:
    with azurite.start(folder=tmp_path) as storage:
        payloads = BlobPayloads(a_container(storage, retry_total=0))
        await payloads.put("a", b"1")
        storage.kill()
    for call in (payloads.put("a", b"2"), payloads.get("a"), payloads.delete("a"), payloads.names("", 1)):
        with pytest.raises(Unavailable, match=r"^the payload container cannot be reached$"):
            await call
    with azurite.start(folder=tmp_path, blob_port=storage.blob_port, table_port=storage.table_port):
        await payloads.put("a", b"3")
        assert await payloads.get("a") == b"3"
    await payloads.close()


async def test_blobs_that_do_not_answer_are_unavailable_within_the_budget() -> None:
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(3600), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    with_port = azurite.Running(blob_port=port, table_port=port, process=None)  # type: ignore[arg-type]  # only its address is used
    payloads = BlobPayloads(a_container(with_port), budget=timedelta(milliseconds=100))
    with pytest.raises(Unavailable):
        await payloads.get("a")
    await payloads.close()
    silent.close()
