"""Checks infra/ against checkov's policies for Azure: none failed, few skipped and each with its reason.

    python -m tests.infra.policies      (in the environment that `make infra` sets up)

checkov's own exit code says nothing of a file that it cannot parse, or of a policy that broke on one. Its
count of resources has parameters in it, so that they are counted here.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.infra import bicep

INFRA = Path(__file__).parents[2] / "infra"
MOST_SKIPPED = 8
FEWEST_RESOURCES = 31
# For these there are policies; one that is missing was not understood.
JUDGED = {
    "Microsoft.KeyVault/vaults.vault",
    "Microsoft.Network/networkSecurityGroups.securityGroup",
    "Microsoft.Network/virtualNetworks.network",
    "Microsoft.Storage/storageAccounts.storage",
    "Microsoft.Storage/storageAccounts/blobServices/containers.packages",
    "Microsoft.Storage/storageAccounts/blobServices/containers.payloads",
    "Microsoft.Web/serverfarms.plan",
    "Microsoft.Web/sites.app",
}


def main() -> int:
    checkov = Path(sys.executable).with_name("checkov")
    command = [str(checkov), "--framework", "bicep", "--skip-download", "--compact"]
    ran = subprocess.run(
        [*command, "--output", "json", "--directory", str(INFRA)], capture_output=True, text=True, check=False
    )
    report = json.loads(ran.stdout)
    summary, results = report["summary"], report["results"]
    problems = [
        f"{one['check_id']} failed for {one['resource']}: {one['check_name']}"
        for one in results["failed_checks"]
    ]
    problems += [
        f"{one['check_id']} is skipped for {one['resource']} without a reason"
        for one in results["skipped_checks"]
        if len((one["check_result"].get("suppress_comment") or "").split()) < 3
    ]
    problems += [f"not parsed: {path}" for path in results["parsing_errors"]]
    problems += [line for line in ran.stderr.splitlines() if "Failed to run check" in line]
    if summary["skipped"] > MOST_SKIPPED:
        problems.append(f"{summary['skipped']} checks are skipped, at most {MOST_SKIPPED} may be")
    declared = sum(len(bicep.read(path).resources) for path in INFRA.rglob("*.bicep"))
    if declared < FEWEST_RESOURCES:
        problems.append(f"only {declared} resources were seen")
    judged = {
        one["resource"] for kind in ("passed", "failed", "skipped") for one in results[f"{kind}_checks"]
    }
    problems += [f"{resource} was not judged" for resource in sorted(JUDGED - judged)]
    print(*problems, sep="\n", end="\n" if problems else "")
    print(
        f"checkov {summary['checkov_version']}: {summary['passed']} passed, {summary['failed']} failed, "
        f"{summary['skipped']} skipped; policies for {len(judged)} of {declared} resources; "
        f"{len(problems)} problems"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
