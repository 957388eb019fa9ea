"""The parameter's type is another trigger's."""

import azure.functions as func

app = func.FunctionApp()


@app.route("bad")
async def bad(req: func.TimerRequest) -> func.HttpResponse:
    return func.HttpResponse()
