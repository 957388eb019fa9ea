"""Loads an app through Microsoft's worker library and sends it invocations, as the Functions host does.

Runs on Python 3.13 in an environment that has the library. Reads {"app", "script", "invocations"} as JSON
from standard input and writes what the worker answered as JSON to standard output.
"""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from wire import protos  # type: ignore[import-not-found]  # found beside this script when it runs

# This folder and the working directory are no places that the app finds modules in; in Azure it has its own
# only.
sys.path[:] = [place for place in sys.path if place not in ("", str(Path(__file__).parent), str(Path.cwd()))]

import azure_functions_runtime as worker  # noqa: E402 - with the path as in Azure


def typed(value: Any) -> Any:
    """Make TypedData of {"string": ...}, {"json": ...}, {"bytes": hex} or {"http": {...}}; None is an empty
    one."""
    if value is None:
        return protos.TypedData()
    ((kind, content),) = value.items()
    if kind == "bytes":
        return protos.TypedData(bytes=bytes.fromhex(content))
    if kind == "http":
        return protos.TypedData(http=protos.RpcHttp(**{**content, "body": typed(content["body"])}))
    return protos.TypedData(**{kind: content})


def plain(data: Any) -> Any:
    """Undo typed()."""
    kind = data.WhichOneof("data")
    if kind is None:
        return None
    if kind == "bytes":
        return {"bytes": data.bytes.hex()}
    if kind == "http":
        answer = data.http
        return {
            "http": {
                "status_code": answer.status_code,
                "headers": dict(answer.headers),
                "cookies": [cookie.name for cookie in answer.cookies],
                "body": plain(answer.body),
            }
        }
    return {kind: getattr(data, kind)}


def outcome(result: Any) -> dict[str, Any]:
    ok = result.status == protos.StatusResult.Success
    return {"ok": ok, "exception": None if ok else result.exception.message}


def request(**content: Any) -> Any:
    properties = {"host": "127.0.0.1", "protos": protos}
    return SimpleNamespace(request=SimpleNamespace(**content), properties=properties)


async def invoke(number: int, function_id: str, asked: dict[str, Any]) -> dict[str, Any]:
    invocation = protos.InvocationRequest(
        invocation_id=f"invocation-{number}",
        function_id=function_id,
        input_data=[protos.ParameterBinding(name=asked["parameter"], data=typed(asked["data"]))],
        trigger_metadata={name: typed(value) for name, value in asked.get("metadata", {}).items()},
        trace_context=protos.RpcTraceContext(trace_parent=asked.get("trace_parent", "")),
    )
    answer = await worker.invocation_request(request(invocation_request=invocation))
    return {**outcome(answer.result), "return": plain(answer.return_value)}


async def drive(order: dict[str, Any]) -> dict[str, Any]:
    sys.path.append(order["app"])
    os.environ["PYTHON_SCRIPT_FILE_NAME"] = order["script"]
    init = SimpleNamespace(capabilities={}, function_app_directory=order["app"])
    started = await worker.worker_init_request(request(worker_init_request=init))
    if not outcome(started.result)["ok"]:
        return {"init": outcome(started.result)}
    listed = await worker.functions_metadata_request(request())
    ids = {function.name: function.function_id for function in listed.function_metadata_results}
    bindings = {
        function.name: [json.loads(binding) for binding in function.raw_bindings]
        for function in listed.function_metadata_results
    }
    loads = []
    for function_id in ids.values():
        load = SimpleNamespace(function_id=function_id)
        loads.append(
            outcome((await worker.function_load_request(request(function_load_request=load))).result)
        )
    return {
        "init": outcome(started.result),
        "loads": loads,
        "bindings": bindings,
        "answers": [
            await invoke(number, ids[asked["function"]], asked)
            for number, asked in enumerate(order["invocations"])
        ],
    }


if __name__ == "__main__":
    logging.disable()
    worker.start_threadpool_executor()
    json.dump(asyncio.run(drive(json.load(sys.stdin))), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # the app's clients and threads are not what is tested here
