"""Azure Table and Blob Storage on this machine: Azurite, as package-lock.json pins it, as a process.

It ends when its parent is gone, however that went: its standard input closes then.
"""

import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
# The account that every Azurite has: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_GUARD = "data:text/javascript,process.stdin.on('end',()=>process.exit(1)).resume()"
# Azurite writes its files every five seconds; Azure answers a write when it is kept. The files that others
# point into come first, and all of them from one moment.
_KEEP = """
import { renameSync, writeFileSync } from "node:fs";
import { ServerResponse } from "node:http";
import { createRequire } from "node:module";
const Loki = createRequire(process.argv[1])("lokijs");
const databases = [], waiting = [];
Loki.prototype.autosaveEnable = function () {
  databases.push(this);
  databases.sort((one) => (one.filename.includes("extent") ? -1 : 1));
};
const end = ServerResponse.prototype.end;
ServerResponse.prototype.end = function (...rest) {
  if (this.req.method === "GET" || this.req.method === "HEAD") return end.apply(this, rest);
  if (waiting.push(() => end.apply(this, rest)) === 1) setTimeout(keep, 5);
  return this;
};
function keep() {
  for (const one of databases.filter((each) => each.autosaveDirty())) {
    one.autosaveClearFlags();
    writeFileSync(one.filename + "~", one.serialize());
    renameSync(one.filename + "~", one.filename);
  }
  for (const answer of waiting.splice(0)) answer();
}
"""
_LISTENING = re.compile(rb"(Blob|Table) service is successfully listening at http://127\.0\.0\.1:(\d+)")


class NotStarted(Exception):
    """Azurite is not installed, or ended before it was ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An Azurite that takes requests; leaving the `with` stops it."""

    blob_port: int
    table_port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def connection_string(self) -> str:
        """What the SDKs for blobs and tables connect with."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{self.blob_port}/{ACCOUNT};"
            f"TableEndpoint=http://127.0.0.1:{self.table_port}/{ACCOUNT};"
        )

    def kill(self) -> None:
        """End it as a crash would; without a folder everything is gone."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def start(*, blob_port: int = 0, table_port: int = 0, folder: Path | None = None) -> Running:
    """Start Azurite and wait until it takes requests; raises NotStarted.

    Port 0 is any free one. What it has answered is kept in the folder, through a kill too; without one it
    keeps everything in memory.
    """
    node = shutil.which("node", path=str(ROOT / ".venv" / "bin")) or shutil.which("node")
    if node is None or not SCRIPT.exists():
        raise NotStarted("Azurite is not installed: run `make test`, or `npm ci` with Node.js 20 or newer")
    keep = ["--inMemoryPersistence"] if folder is None else ["--location", str(folder)]
    imports = ["--import", _GUARD]
    if folder is not None:
        imports += ["--import", f"data:text/javascript,{quote(_KEEP)}"]
    ports = ["--blobPort", str(blob_port), "--queuePort", "0", "--tablePort", str(table_port)]
    options = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    process = subprocess.Popen(  # noqa: S603 our own pinned dependency, no shell
        [node, *imports, str(SCRIPT), *ports, *keep, *options],
        cwd=folder or ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None, "it was asked for"
    written = b""
    while len(found := dict(_LISTENING.findall(written))) < 2:
        line = process.stdout.readline()
        if not line:
            process.wait()
            raise NotStarted(f"Azurite ended with status {process.returncode}:\n{written.decode()}")
        written += line
    threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
    return Running(blob_port=int(found[b"Blob"]), table_port=int(found[b"Table"]), process=process)


def _drain(stream: IO[bytes]) -> None:
    # A full pipe would stop the process that writes into it.
    with stream:
        while stream.read1():  # type: ignore[attr-defined]  # a buffered reader, as Popen makes it
            pass
