"""The whole service, built from settings alone."""

import io
import json
import logging
from pathlib import Path

import pytest

from services.__main__ import main
from services.bootstrap import build
from services.errors import OperatorError
from services.handshakes import HANDSHAKES

WHOLE = {
    "SERVICEBUS": "Endpoint=sb://localhost;SharedAccessKeyName=n;SharedAccessKey=a2V5;UseDevelopmentEmulator=true;",
    "SECRET_SOURCE": "environment",
    "PUBLIC_URL": "https://hooks.example",
    "PROVIDERS": "stripe,acme",
    "PROVIDER_ACME__START_URL": "https://acme.example/jobs",
    "CALLBACK_TOKEN_KEY": "k" * 32,
    "STRIPE_API_KEY": "sk_test",
    "STRIPE_SIGNING_SECRET": "whsec_stripe",
    "ACME_API_KEY": "key",
    "ACME_SIGNING_SECRET": "whsec_YWNtZS1hY21lLWFjbWUtYWNtZS1hY21lLWFjbWU=",
}


def whole(folder: Path, **changes: str) -> dict[str, str]:
    return {**WHOLE, "JOB_STORE": f"sqlite:{folder}/jobs.db", "PAYLOAD_STORE": f"file:{folder}/p", **changes}


async def test_a_whole_set_of_settings_makes_a_service(tmp_path: Path) -> None:
    hookbus = build(whole(tmp_path))
    assert sorted(hookbus.receive.providers) == ["acme", "stripe"]


def test_everything_that_is_missing_or_wrong_is_named_at_once() -> None:
    with pytest.raises(OperatorError) as refused:
        build(
            {
                "SECRET_SOURCE": "environment",
                "PROVIDERS": "stripe,acme,nobody",
                "PROVIDER_ACME__START_URL": "acme",
                "PUBLIC_URL": "x",
            }
        )
    for name in (
        "SERVICEBUS is missing",
        "JOB_STORE is missing",
        "PAYLOAD_STORE is missing",
        "PUBLIC_URL must be",
        "PROVIDER_ACME__START_URL:",
        "PROVIDER_NOBODY__START_URL: is missing",
        "CALLBACK_TOKEN_KEY is missing",
    ):
        assert name in str(refused.value)


@pytest.mark.parametrize(
    "name",
    ["CALLBACK_TOKEN_KEY", "STRIPE_API_KEY", "STRIPE_SIGNING_SECRET", "ACME_API_KEY", "ACME_SIGNING_SECRET"],
)
def test_a_secret_that_is_not_in_the_environment_is_named_at_start(tmp_path: Path, name: str) -> None:
    for blank in ("", " "):
        with pytest.raises(OperatorError, match=f"{name} is missing"):
            build(whole(tmp_path, **{name: blank}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CALLBACK_TOKEN_KEY", "not-long-enough"),
        ("ACME_SIGNING_SECRET", "whsec_!!!"),
        ("STRIPE_API_KEY", "sk_test_1\n"),
        ("STRIPE_API_KEY", "sk_t\u00e9st"),
        ("SERVICEBUS", "Endpoint=sb://"),
        ("SERVICEBUS", "Endpoint=sb://h/;SharedAccessKeyName=a"),
        ("JOB_STORE", "AccountName=x"),
        ("JOB_STORE", "AccountKey=x"),
        ("PAYLOAD_STORE", "AccountName=x"),
        ("PAYLOAD_STORE", "AccountKey=x"),
    ],
)
def test_a_setting_that_could_not_be_used_is_named_at_start(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(OperatorError, match=name) as refused:
        build(whole(tmp_path, **{name: value}))
    assert value not in str(refused.value)


@pytest.mark.parametrize("value", ["", " "])
def test_a_signing_secret_that_is_handed_over_may_be_missing_at_first(tmp_path: Path, value: str) -> None:
    values = whole(tmp_path, PROVIDER_ACME__SCHEME="notion", ACME_SIGNING_SECRET=value)
    if value:
        with pytest.raises(OperatorError, match="ACME_SIGNING_SECRET is missing"):
            build(values)
    else:
        assert build(values).receive.providers["acme"].handshake is HANDSHAKES["notion"]


@pytest.mark.parametrize(("value", "said"), [("", "is missing"), ("a b", "cannot be used")])
def test_a_handshakes_own_secret_is_asked_for_at_start(tmp_path: Path, value: str, said: str) -> None:
    values = whole(tmp_path, PROVIDER_ACME__SCHEME="meta", ACME_SIGNING_SECRET="x")
    with pytest.raises(OperatorError, match=f"ACME_VERIFY_TOKEN {said}"):
        build({**values, "ACME_VERIFY_TOKEN": value})
    assert build({**values, "ACME_VERIFY_TOKEN": "meatyhamhock"}).receive.providers["acme"].handshake


def test_a_scheme_whose_keys_are_fetched_needs_no_signing_secret(tmp_path: Path) -> None:
    values = whole(tmp_path, PROVIDER_ACME__SCHEME="fal")
    del values["ACME_SIGNING_SECRET"]
    assert build(values).receive.providers["acme"].signing_secret is None


async def test_the_address_to_set_up_at_a_provider_is_bare_where_its_signature_is_enough(
    tmp_path: Path,
) -> None:
    assert await build(whole(tmp_path)).address("stripe") == "https://hooks.example/api/webhooks/stripe"


@pytest.mark.parametrize("scheme", ["none", "fal", "notion"])
async def test_the_address_to_set_up_at_a_provider_holds_our_token_where_it_is_needed(
    tmp_path: Path, scheme: str
) -> None:
    account = {"PROVIDER_ACME__SCHEME": scheme, "PROVIDER_ACME__CALLBACK_ADDRESS": "account"}
    hookbus = build(whole(tmp_path, **account, ACME_SIGNING_SECRET="x"))
    # printf '1||acme||' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk -binary | base64
    token = "MXx8YWNtZXx8.CdxrDb2r39vYaCfO_uBtcRLRvUX3qtfhmEHRYXb7JoM"
    assert await hookbus.address("acme") == f"https://hooks.example/api/webhooks/acme/{token}"


@pytest.mark.parametrize("name", ["acme", "nobody", ""])
async def test_a_provider_without_an_address_to_set_up_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperatorError, match=f"^{name} has no address to set up"):
        await build(whole(tmp_path)).address(name)


class TestCommandLine:
    def run(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["services", *arguments])
        return main()

    def test_prints_an_address_and_nothing_else(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, value in whole(tmp_path).items():
            monkeypatch.setenv(name, value)
        assert self.run(monkeypatch, tmp_path, "address", "stripe") == 0
        assert capsys.readouterr().out == "https://hooks.example/api/webhooks/stripe\n"

    def test_reads_local_settings_under_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        document = {"Values": whole(tmp_path, PUBLIC_URL="https://local.example")}
        (tmp_path / "local.settings.json").write_text(json.dumps(document))
        assert self.run(monkeypatch, tmp_path, "address", "stripe") == 0
        monkeypatch.setenv("PUBLIC_URL", "https://set.example")
        assert self.run(monkeypatch, tmp_path, "address", "stripe") == 0
        assert capsys.readouterr().out.split() == [
            "https://local.example/api/webhooks/stripe",
            "https://set.example/api/webhooks/stripe",
        ]

    @pytest.mark.parametrize("document", ["", "[]", "{}", '{"Values": 5}', '{"Values": {"PUBLIC_URL": 5}}'])
    def test_says_what_to_mend(
        self,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        document: str,
    ) -> None:
        (tmp_path / "local.settings.json").write_text(document)
        assert self.run(monkeypatch, tmp_path, "address", "stripe") == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert "SERVICEBUS is missing" in said.err or "local.settings.json must hold" in said.err


async def test_no_library_logs_the_addresses_it_asks(tmp_path: Path) -> None:
    build(whole(tmp_path))
    for name in ("httpx", "azure"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


async def test_what_the_worker_sends_of_a_log_record_has_its_fields(tmp_path: Path) -> None:
    plain, formatted = logging.StreamHandler(io.StringIO()), logging.StreamHandler(io.StringIO())
    formatted.setFormatter(logging.Formatter("own %(message)s"))
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = [plain, formatted]
    try:
        build(whole(tmp_path))
        logging.getLogger("services.receive").warning("delivery.refused", extra={"reason": "too_old"})
    finally:
        root.handlers[:] = handlers
    assert plain.stream.getvalue() == 'delivery.refused {"reason": "too_old"}\n'
    assert formatted.stream.getvalue() == "own delivery.refused\n"


def test_nothing_that_is_secret_stands_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as refused:
        build(whole(tmp_path, PUBLIC_URL="x", PROVIDER_ACME__AUTH="hush-hush"))
    for secret in ("a2V5", "sk_test", "hush-hush", "whsec_stripe"):
        assert secret not in str(refused.value)


async def test_the_adapters_are_chosen_by_the_form_of_the_settings() -> None:
    from services.adapters.blobs import BlobPayloads
    from services.adapters.keyvault import KeyVaultSecrets
    from services.adapters.tables import TablesJobStore

    azure = {
        **WHOLE,
        "JOB_STORE": "https://account.table.core.windows.net",
        "PAYLOAD_STORE": "https://account.blob.core.windows.net",
        "SECRET_SOURCE": "https://vault.vault.azure.net",
    }
    hookbus = build(azure)
    assert isinstance(hookbus.advance.jobs.store, TablesJobStore)
    assert isinstance(hookbus.advance.payloads, BlobPayloads)
    assert isinstance(hookbus.receive.secrets.source, KeyVaultSecrets)
    development = "UseDevelopmentStorage=true"
    local = build({**WHOLE, "JOB_STORE": development, "PAYLOAD_STORE": development})
    assert isinstance(local.advance.jobs.store, TablesJobStore)
