"""An HTTP function that says it returns a number."""

import azure.functions as func

app = func.FunctionApp()


@app.route("bad")
async def bad(req: func.HttpRequest) -> int:
    return 1
