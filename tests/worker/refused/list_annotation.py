"""list[X] is no type that the worker takes."""

import azure.functions as func

app = func.FunctionApp()


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="q", connection="BUS", data_type=func.DataType.BINARY
)
async def bad(message: list[func.ServiceBusMessage]) -> None: ...
