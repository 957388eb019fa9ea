"""The operator's tool: python -m services address PROVIDER."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from services.bootstrap import build
from services.errors import HookbusError, OperatorError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services", description="Tools for operators.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    address = commands.add_parser("address", help="print the callback address to set up at a provider")
    address.add_argument("provider")
    name = parser.parse_args().provider
    try:
        print(asyncio.run(build({**_local_settings(), **os.environ}).address(name)))
    except HookbusError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _local_settings() -> Mapping[str, str]:
    """Read what `func start` would; the environment is stronger.

    https://learn.microsoft.com/azure/azure-functions/functions-develop-local#local-settings-file
    """
    path = Path("local.settings.json")
    if not path.exists():
        return {}
    try:
        return {name: str(value) for name, value in json.loads(path.read_text())["Values"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OperatorError(f"{path} must hold a JSON object with Values in it") from None


if __name__ == "__main__":
    sys.exit(main())
