"""An HTTP function that says it may return nothing."""

import azure.functions as func

app = func.FunctionApp()


@app.route("bad")
async def bad(req: func.HttpRequest) -> func.HttpResponse | None:
    return None
