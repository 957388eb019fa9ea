"""The host where vendors' names lead to the fake vendor, and where its certificate is trusted.

Senders' public keys are fetched from fixed addresses alone: so it is the network that is made up, and the app
is left as it is. Any other name leads nowhere.
"""

import os
import sys
from typing import Any
from unittest.mock import patch

import anyio

from dev.host.__main__ import main

NAMES = frozenset({"rest.fal.ai", "production.plaid.com", "api.paypal.com"})
PORT, AUTHORITY = "FAKE_VENDOR_TLS_PORT", "FAKE_VENDOR_AUTHORITY"
HERE = "127.0.0.1"

_connect_tcp = anyio.connect_tcp


async def _connect_here(remote_host: str, remote_port: int, **options: Any) -> Any:
    if remote_host in NAMES:
        return await _connect_tcp(HERE, int(os.environ[PORT]), **options)
    if remote_host != HERE:
        raise OSError(f"{remote_host} leads nowhere")
    return await _connect_tcp(remote_host, remote_port, **options)


if __name__ == "__main__":
    with (
        patch("anyio.connect_tcp", _connect_here),
        patch("certifi.where", lambda: os.environ[AUTHORITY]),
    ):
        sys.exit(main())
