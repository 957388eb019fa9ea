"""Timers that write down when they ran, one of them longer than its own interval."""

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
RUNS = Path(os.environ["RUNS"])
counts = {"running": 0, "most": 0, "ended": 0}


@app.timer_trigger(arg_name="timer", schedule="*/2 * * * * *", run_on_startup=True)
def at_start(timer: func.TimerRequest) -> None:
    with RUNS.open("a") as file:
        file.write(json.dumps({"past_due": timer.past_due, "at": datetime.now(UTC).isoformat()}) + "\n")
    raise ValueError("each run fails, and the next comes all the same")


@app.timer_trigger(arg_name="timer", schedule="* * * * * *")
async def long(timer: func.TimerRequest) -> None:
    counts["running"] += 1
    counts["most"] = max(counts["most"], counts["running"])
    await asyncio.sleep(1.1)
    counts["running"] -= 1
    counts["ended"] += 1
    print("long run ended")


@app.route("together")
async def together(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(counts), mimetype="application/json")
