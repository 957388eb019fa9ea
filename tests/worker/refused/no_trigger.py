"""A function with an output and no trigger."""

import azure.functions as func

app = func.FunctionApp()


@app.queue_output(arg_name="out", queue_name="q", connection="STORAGE")
async def bad(out: func.Out[str]) -> None: ...
