"""Tools for who works on Hookbus: python -m dev providers, python -m dev new-provider NAME."""

import argparse
import sys

from dev.new_provider import Refused, write_provider
from dev.process import ROOT
from dev.tables import document


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev", description="Tools for who works on Hookbus.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("providers", help="print docs/providers.md")
    new = commands.add_parser("new-provider", help="write the files of a provider, to be filled in")
    new.add_argument("name")
    given = parser.parse_args()
    if given.command == "providers":
        sys.stdout.write(document())
        return 0
    try:
        written = write_provider(given.name, ROOT)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(str(path.relative_to(ROOT)) for path in written))
    print("It works, for an API that is made up. docs/adding-a-provider.md says how to make it a real one.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
