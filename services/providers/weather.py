"""Open-Meteo: weather forecasts; the answer to the start is the result, and no key is needed."""

from datetime import timedelta
from functools import partial
from typing import Annotated, Literal, Self
from urllib.parse import urlencode

from pydantic import BaseModel, Field, model_validator

from services.jsons import parse_object
from services.models import HttpAnswer, HttpRequest, Status
from services.providers.base import Completion, Input, Operation, Provider, Start, Started
from services.providers.failures import refusal_in

Variables = Annotated[list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]], Field(max_length=40)]
Value = int | float | str | None
Series = dict[str, list[Value]]


# https://open-meteo.com/en/docs#api_documentation
class ForecastInput(Input):
    """Where, and which variables for which days."""

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    current: Variables = Field([])
    hourly: Variables = Field(["temperature_2m"])
    daily: Variables = Field([])
    timezone: str = Field("GMT", pattern=r"^[A-Za-z0-9_+/-]{1,64}$")
    forecast_days: int = Field(7, ge=1, le=16)
    temperature_unit: Literal["celsius", "fahrenheit"] = "celsius"
    wind_speed_unit: Literal["kmh", "ms", "mph", "kn"] = "kmh"
    precipitation_unit: Literal["mm", "inch"] = "mm"

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not (self.current or self.hourly or self.daily):
            raise ValueError("name at least one variable in current, hourly or daily")
        return self


class Forecast(BaseModel):
    """The forecast of the grid cell that was found; times are local to `timezone`."""

    latitude: float
    longitude: float
    elevation: float | None = None
    timezone: str | None = None
    utc_offset_seconds: int | None = None
    current: dict[str, Value] | None = None
    current_units: dict[str, str] | None = None
    hourly: Series | None = None
    hourly_units: dict[str, str] | None = None
    daily: Series | None = None
    daily_units: dict[str, str] | None = None


def start(job: Start) -> HttpRequest:
    asked = job.input.model_dump()
    query = {name: ",".join(value) if isinstance(value, list) else value for name, value in asked.items()}
    query = {name: value for name, value in query.items() if value != ""}
    return HttpRequest(method="GET", url=f"{job.api_url}/v1/forecast?{urlencode(query, safe=',/')}")


def read_start(answer: HttpAnswer) -> Started:
    return Started(status=Status.SUCCEEDED).with_result(Forecast, parse_object(answer.body))


PROVIDER = Provider(
    name="weather",
    documentation="https://open-meteo.com/en/docs",
    completion=Completion.IMMEDIATE,
    api_url="https://api.open-meteo.com",
    operations={
        "forecast": Operation(
            input=ForecastInput,
            result=Forecast,
            start=start,
            read_start=read_start,
            idempotent=True,  # it only reads
            deadline=timedelta(hours=1),
        )
    },
    default_operation="forecast",
    # https://open-meteo.com/en/docs#errors
    refusal=partial(refusal_in, path="reason"),
)
