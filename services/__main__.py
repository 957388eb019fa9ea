"""The operator's tools: python -m services COMMAND."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from services.bootstrap import Hookbus, build
from services.errors import HookbusError, OperatorError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services", description="Tools for operators.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    address = commands.add_parser("address", help="print the callback address to set up at a provider")
    address.add_argument("provider")
    address.set_defaults(run=_address)
    audit = commands.add_parser("audit", help="count all jobs, and wake those that nothing else will")
    audit.add_argument("--dry-run", action="store_true", help="only say what is overdue")
    audit.set_defaults(run=_audit)
    arguments = parser.parse_args()
    try:
        done: int = asyncio.run(arguments.run(build({**_local_settings(), **os.environ}), arguments))
    except HookbusError as error:
        print(error, file=sys.stderr)
        return 1
    return done


async def _address(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    print(await hookbus.address(arguments.provider))
    return 0


async def _audit(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    report = await hookbus.audit(mend=not arguments.dry_run)
    for one in report.overdue:
        fate = "has a new tick" if one.mended else "NOT mended"
        print(f"{one.job_id}  {one.provider}  {one.status}  due {one.due_at:%Y-%m-%d %H:%M:%S}Z  {fate}")
    ledger = report.ledger
    sign = "=" if ledger.balanced else "IS NOT"
    print(f"accepted {ledger.accepted} {sign} settled {ledger.settled} + open {ledger.open}")
    print(f"{len(report.overdue)} overdue")
    return 0 if ledger.balanced and not report.overdue else 1


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
