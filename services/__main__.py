"""The operator's tools: python -m services COMMAND."""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import date, datetime
from pathlib import Path
from typing import NoReturn

from services.bootstrap import INBOX, QUEUE, Hookbus, build
from services.captures import read_moment
from services.errors import HookbusError, NotUnderstood, OperatorError
from services.kept import Kept
from services.models import Callback, DeadLetter
from services.operator import Like
from services.verify import Verify


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{message}; {self.prog} --help says what there is\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m services", description="Tools for operators. Each may be used again.")
    commands = parser.add_subparsers(metavar="COMMAND")

    address = commands.add_parser("address", help="print the callback address to set up at a provider")
    address.add_argument("provider", metavar="NAME")
    address.set_defaults(run=_address)

    doctor = commands.add_parser("doctor", help="say what is missing: secrets, parts, addresses, the clock")
    doctor.set_defaults(run=_doctor)

    audit = commands.add_parser("audit", help="count all jobs, and wake those that nothing else will")
    audit.add_argument("--dry-run", action="store_true", help="only say what is overdue")
    audit.set_defaults(run=_audit)

    dead = commands.add_parser("dead-letters", help="list what lies in dead-letter queues, or send it again")
    dead.add_argument("--entity", help=f"job-events/SUBSCRIPTION, or {QUEUE}; default: {QUEUE} and {INBOX}")
    dead.add_argument("--reason", metavar="TEXT", default="", help="only with this in reason or description")
    dead.add_argument("--subject", metavar="TEXT", default="", help="only of this subject")
    dead.add_argument("--contains", metavar="TEXT", default="", help="only with this in an id or the body")
    dead.add_argument("--replay", action="store_true", help=f"send each to {QUEUE} and take it away")
    dead.set_defaults(run=_dead_letters)

    deliveries = commands.add_parser(
        "deliveries", help="list kept deliveries, and what they say to today's code"
    )
    replay = commands.add_parser(
        "replay",
        help="read kept deliveries again, and publish what they say",
        description="Their signatures were verified before they were kept, and are not again.",
    )
    replay.add_argument("names", metavar="NAME", nargs="*", help="as `deliveries` lists it")
    for one in (deliveries, replay):
        one.add_argument("--provider", metavar="NAME", help="only this provider's")
        one.add_argument("--since", metavar="DAY", type=_day, help="only of this day (2026-03-01) and later")
    deliveries.set_defaults(run=_deliveries)
    replay.set_defaults(run=_replay)

    orphans = commands.add_parser("orphans", help="list callbacks that were nobody's")
    orphans.set_defaults(run=_orphans)
    for one in (dead, deliveries, orphans):
        one.add_argument(
            "--limit", metavar="N", type=_count, default=1000, help="at most so many; default: 1000"
        )

    bind = commands.add_parser("bind", help="give such a callback to a job")
    bind.add_argument("orphan", metavar="ORPHAN", help="as `orphans` lists it")
    bind.add_argument("job", metavar="JOB")
    bind.set_defaults(run=_bind)

    check = commands.add_parser("verify", help="say whether a captured delivery verifies, and why not")
    check.add_argument("provider")
    check.add_argument("file", type=Path, help="a HAR, a curl command, raw HTTP, or a delivery as it is kept")
    check.add_argument("--at", type=read_moment, help="the time to check it at; else when it was captured")
    check.add_argument("--url", help="the address that the provider called; else PUBLIC_URL and its path")
    check.add_argument("--secret", action="append", default=[], help="the name of one more secret to try")
    check.set_defaults(run=_verify)
    return parser


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if "run" not in arguments:
        parser.print_help()
        return 0
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
    try:
        return asyncio.run(_run(arguments))
    except HookbusError as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:  # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 1


async def _run(arguments: argparse.Namespace) -> int:
    hookbus = build({**_local_settings(), **os.environ})
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # what it has to say is raised as well
    try:
        done: int = await arguments.run(hookbus, arguments)
        sys.stdout.flush()
    finally:
        await hookbus.close()
    return done


async def _address(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    print(await hookbus.address(arguments.provider))
    return 0


async def _doctor(hookbus: Hookbus, _: argparse.Namespace) -> int:
    found = await hookbus.doctor()
    for one in found:
        print(f"{'ok  ' if one.well else 'MEND'}  {one.about}: {one.said}")
    return 0 if all(one.well for one in found) else 1


async def _audit(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    report = await hookbus.audit(mend=not arguments.dry_run)
    for one in report.overdue:
        fate = "has a new tick" if one.mended else "NOT mended"
        _print(one.job_id, one.provider, one.status, f"due {_time(one.due_at)}", fate)
    ledger = report.ledger
    sign = "=" if ledger.balanced else "IS NOT"
    print(f"accepted {ledger.accepted} {sign} settled {ledger.settled} + open {ledger.open}")
    print(f"{len(report.overdue)} overdue")
    return 0 if ledger.balanced and not report.overdue else 1


async def _dead_letters(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    like = Like(reason=arguments.reason, subject=arguments.subject, contains=arguments.contains)
    shown = left = 0
    for entity in [arguments.entity] if arguments.entity else [QUEUE, INBOX]:

        def show(letter: DeadLetter, entity: str = entity) -> None:
            nonlocal shown
            shown += 1
            message = letter.message
            _print(
                entity,
                letter.sequence_number,
                _time(letter.enqueued_at),
                message.subject,
                message.message_id,
                message.correlation_id,
                letter.reason,
                letter.description,
            )

        if arguments.replay:
            left += await hookbus.dead_letters.replay(entity, like, arguments.limit - shown, show)
            continue
        async with aclosing(hookbus.dead_letters.find(entity, like)) as letters:
            async for letter in letters:
                if shown == arguments.limit:
                    break
                show(letter)
    _print_count(shown, "sent again" if arguments.replay else "dead letters", arguments.limit)
    if left:
        raise OperatorError(
            f"{left} were not reached: others hold them, or too many lie before them; try again in 5 minutes"
        )
    return 0


async def _deliveries(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    shown = 0
    async with aclosing(hookbus.deliveries.find(arguments.provider, arguments.since)) as found:
        async for name, kept in found:
            if shown == arguments.limit:
                break
            shown += 1
            try:
                said = _say(hookbus.receive.read_again(kept))
            except HookbusError as error:
                said = f"NOT understood: {error}"
            _print(name, _time(kept.delivery.received_at), kept.provider, kept.job_id or "-", said)
    _print_count(shown, "deliveries", arguments.limit)
    return 0


async def _replay(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    if arguments.names and (arguments.provider or arguments.since):
        raise OperatorError("give either names, or --provider and --since")
    if not (arguments.names or arguments.provider or arguments.since):
        raise OperatorError("say which deliveries: by NAME..., --provider or --since")
    published = failed = 0
    async with aclosing(_chosen(hookbus, arguments)) as chosen:
        async for name, kept in chosen:
            try:
                said = f"published: {_say(await hookbus.receive.replay(kept))}"
                published += 1
            except (NotUnderstood, OperatorError) as error:
                said = f"NOT published: {error}"
                failed += 1
            _print(name, said)
    _print_count(published, "published")
    if failed:
        raise OperatorError(f"{failed} could not be read by today's code either")
    return 0


async def _chosen(hookbus: Hookbus, arguments: argparse.Namespace) -> AsyncGenerator[tuple[str, Kept]]:
    for name in arguments.names:
        yield name, await hookbus.deliveries.load(name)
    if not arguments.names:
        async for found in hookbus.deliveries.find(arguments.provider, arguments.since):
            yield found


async def _orphans(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    shown = 0
    async for orphan in hookbus.orphans.find(arguments.limit):
        shown += 1
        callback = orphan.called.callback
        names = (callback.operation or "-", callback.event_type, callback.status)
        _print(orphan.name, orphan.called.provider, *names, callback.external_id or "-", orphan.reason)
    _print_count(shown, "orphans", arguments.limit)
    return 0


async def _bind(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    bound = await hookbus.orphans.bind(arguments.orphan, arguments.job)
    told = "".join(f", told as {kind}" for kind in bound.notices)
    _print(f"{arguments.job} was {bound.before} and is {bound.after}{told}")
    return 0


def _say(callbacks: Sequence[Callback]) -> str:
    """Say what a delivery says, without what it holds."""
    return ", ".join(f"{one.event_type} ({one.status})" for one in callbacks) or "nothing"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _print(*fields: str | int) -> None:
    """Print one line, whatever strangers wrote in it: a terminal obeys what cannot be printed."""
    line = "  ".join(str(one) or "-" for one in fields)
    print("".join(one if one.isprintable() else " " for one in line))


def _print_count(count: int, things: str, limit: int | None = None) -> None:
    print(f"{count} {things}{'; there may be more: see --limit' if count == limit else ''}")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a day, 2026-03-01") from None


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:9]) > 0:
        return int(text[:9])
    raise argparse.ArgumentTypeError("must be a whole number from 1")


async def _verify(hookbus: Hookbus, arguments: argparse.Namespace) -> int:
    verify = Verify(receive=hookbus.receive, public_url=hookbus.api.public_url)
    try:
        document = arguments.file.read_bytes()
    except OSError as error:
        raise OperatorError(f"{arguments.file} cannot be read: {error.strerror}") from None
    verdict = await verify(
        arguments.provider, document, at=arguments.at, url=arguments.url, more_secrets=arguments.secret
    )
    print("\n".join(verdict.lines))
    return 0 if verdict.verified else 1


def _local_settings() -> Mapping[str, str]:
    """Read what `func start` would; the environment is stronger.

    https://learn.microsoft.com/azure/azure-functions/functions-develop-local#local-settings-file
    """
    path = Path("local.settings.json")
    if not path.exists():
        return {}
    try:
        return {name: str(value) for name, value in json.loads(path.read_text())["Values"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OperatorError(f"{path} must hold a JSON object with Values in it") from None


if __name__ == "__main__":
    sys.exit(main())
