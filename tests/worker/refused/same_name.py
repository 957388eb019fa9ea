"""Two functions of one name."""

import azure.functions as func

app = func.FunctionApp()


@app.function_name("one")
@app.route("a")
async def first(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse()


@app.function_name("one")
@app.route("b")
async def second(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse()
