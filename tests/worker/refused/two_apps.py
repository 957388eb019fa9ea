"""Two function apps at the top level."""

import azure.functions as func

app = func.FunctionApp()

other = func.FunctionApp()


@app.route("a")
async def one(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse()
