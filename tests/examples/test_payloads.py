"""Where the consumer reads large results, and where it does not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob.aio import BlobServiceClient

from dev import azurite
from examples.consumer.payloads import Payloads, Poison


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[azurite.Running]:
    with azurite.start() as storage:
        async with (
            BlobServiceClient.from_connection_string(storage.connection_string) as service,
            await service.create_container("hookbus") as container,
        ):
            await container.upload_blob("events/outcome-job_1.json", b'{"a": 1}')
            yield storage


def address(storage: azurite.Running, rest: str) -> str:
    return f"http://127.0.0.1:{storage.blob_port}/devstoreaccount1{rest}"


async def test_a_blob_is_read_by_its_address(blobs: azurite.Running) -> None:
    async with Payloads(blobs.connection_string) as payloads:
        assert await payloads.read(address(blobs, "/hookbus/events/outcome-job_1.json")) == b'{"a": 1}'


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("/hookbus/events/gone.json", "payload_missing"),
        ("/nowhere/gone.json", "payload_missing"),
        ("/NO_SUCH_NAME/gone.json", "payload_missing"),
        ("/hookbus", "payload_elsewhere"),
        ("/hookbus/", "payload_elsewhere"),
        ("2/hookbus/events/outcome-job_1.json", "payload_elsewhere"),
    ],
    ids=[
        "no blob",
        "no container",
        "no name of a container",
        "a container",
        "no name",
        "an account that begins the same",
    ],
)
async def test_an_address_without_a_blob_of_ours_is_poison(
    blobs: azurite.Running, rest: str, reason: str
) -> None:
    async with Payloads(blobs.connection_string) as payloads:
        with pytest.raises(Poison) as poison:
            await payloads.read(address(blobs, rest))
    assert poison.value.reason == reason


async def test_a_refused_read_may_pass_and_is_no_poison(blobs: azurite.Running) -> None:
    connection = blobs.connection_string.replace(azurite.KEY, "d3Jvbmc=")
    async with Payloads(connection) as payloads:
        with pytest.raises(HttpResponseError) as refused:
            await payloads.read(address(blobs, "/hookbus/events/outcome-job_1.json"))
    assert refused.value.status_code == 403


async def test_a_file_in_the_store_is_read(tmp_path: Path) -> None:
    file = tmp_path / "store" / "events," / "outcome-job_1.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"a": 1}')
    async with Payloads(f"file:{tmp_path / 'store'}") as payloads:
        assert await payloads.read(file.as_uri()) == b'{"a": 1}'


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("file://{root}/secret", "payload_elsewhere"),
        ("file://{root}/store/../secret", "payload_elsewhere"),
        ("file://{root}/store/%2e%2e/secret", "payload_elsewhere"),
        ("file://{root}/store/link", "payload_elsewhere"),
        ("file://{root}/store2/secret", "payload_elsewhere"),
        ("https://account.example{root}/store/here", "payload_elsewhere"),
        ("{root}/store/here", "payload_elsewhere"),
        ("file://{root}/store", "payload_missing"),
        ("file://{root}/store/a%00b", "payload_missing"),
        ("file://[/store", "payload_missing"),
    ],
    ids=[
        "beside",
        "dots",
        "encoded dots",
        "link",
        "a folder that begins the same",
        "host",
        "no scheme",
        "folder",
        "zero",
        "no address",
    ],
)
async def test_a_file_elsewhere_is_not_read(tmp_path: Path, form: str, reason: str) -> None:
    for folder in ("store", "store2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "secret").write_text("secret")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "store" / "here").write_text("here")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "secret")
    async with Payloads(f"file:{tmp_path / 'store'}") as payloads:
        with pytest.raises(Poison) as poison:
            await payloads.read(form.format(root=tmp_path))
    assert poison.value.reason == reason
