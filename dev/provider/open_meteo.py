"""Open-Meteo's forecast for one place. https://open-meteo.com/en/docs

It answers at once, asks for no key and calls nobody. Only the parameters and variables below are known here.
"""

import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from aiohttp import web
from multidict import MultiMapping

from dev.provider.engine import Document, Engine, Job, Refusal, Vendor
from dev.provider.knobs import Knobs

# unit, lowest, highest
MOMENT: dict[str, tuple[str, float, float]] = {
    "temperature_2m": ("°C", -10, 35),
    "apparent_temperature": ("°C", -15, 38),
    "relative_humidity_2m": ("%", 20, 100),
    "is_day": ("", 0, 1),
    "precipitation": ("mm", 0, 5),
    "rain": ("mm", 0, 5),
    "weather_code": ("wmo code", 0, 3),
    "cloud_cover": ("%", 0, 100),
    "pressure_msl": ("hPa", 980, 1040),
    "wind_speed_10m": ("km/h", 0, 60),
    "wind_direction_10m": ("°", 0, 360),
    "wind_gusts_10m": ("km/h", 0, 90),
}
DAY: dict[str, tuple[str, float, float]] = {
    "weather_code": ("wmo code", 0, 3),
    "temperature_2m_max": ("°C", 10, 35),
    "temperature_2m_min": ("°C", -10, 10),
    "precipitation_sum": ("mm", 0, 30),
    "wind_speed_10m_max": ("km/h", 0, 90),
}
WHOLE = {"%", "", "wmo code", "°"}
# what is asked for → the unit it replaces, the unit it says, and how to convert
UNITS: dict[str, dict[str, tuple[str, str, Callable[[float], float]]]] = {
    "temperature_unit": {
        "celsius": ("°C", "°C", lambda value: value),
        "fahrenheit": ("°C", "°F", lambda value: value * 1.8 + 32),
    },
    "wind_speed_unit": {
        "kmh": ("km/h", "km/h", lambda value: value),
        "ms": ("km/h", "m/s", lambda value: value / 3.6),
        "mph": ("km/h", "mp/h", lambda value: value / 1.609344),
        "kn": ("km/h", "kn", lambda value: value / 1.852),
    },
    "precipitation_unit": {
        "mm": ("mm", "mm", lambda value: value),
        "inch": ("mm", "inch", lambda value: value / 25.4),
    },
}
PARAMETERS = {"latitude", "longitude", "current", "hourly", "daily", "timezone", "forecast_days", *UNITS}


def error(status: int, reason: str = "") -> Document:
    limit = "Minutely API request limit exceeded. Please try again in one minute."
    return {"error": True, "reason": reason or (limit if status == 429 else "Internal server error")}


class OpenMeteo:
    """Made-up weather: the same for the same seed, place and variable; times are always GMT."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.vendor = Vendor(name="weather", error=error)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/forecast", self.forecast)]

    async def forecast(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if unknown := sorted(set(query) - PARAMETERS):
            raise Refusal(400, error(400, f"Unknown parameter '{unknown[0]}'."))
        latitude, longitude = _degrees(query, "latitude", 90), _degrees(query, "longitude", 180)
        days = query.get("forecast_days", "7")
        if not days.isdecimal() or int(days) > 16:
            raise Refusal(400, error(400, f"Forecast days is invalid. Allowed range 0 to 16. Given {days}."))
        sky = _Sky(random.Random(f"{self.engine.seed}:{latitude}:{longitude}"), _conversions(query))
        answer: Document = {
            "latitude": round(latitude, 2),
            "longitude": round(longitude, 2),
            "generationtime_ms": 0.05,
            "utc_offset_seconds": 0,
            "timezone": "GMT",
            "timezone_abbreviation": "GMT",
            "elevation": 38.0,
        }
        now = datetime.now(UTC)
        if names := _names(query, "current", MOMENT):
            quarter = now.replace(minute=now.minute // 15 * 15)
            answer |= sky.table("current", MOMENT, names, f"{quarter:%Y-%m-%dT%H:%M}")
        midnight = now.replace(hour=0, minute=0)
        if names := _names(query, "hourly", MOMENT):
            hours = [midnight + timedelta(hours=hour) for hour in range(24 * int(days))]
            answer |= sky.table("hourly", MOMENT, names, [f"{hour:%Y-%m-%dT%H:%M}" for hour in hours])
        if names := _names(query, "daily", DAY):
            dates = [midnight + timedelta(days=day) for day in range(int(days))]
            answer |= sky.table("daily", DAY, names, [f"{date:%Y-%m-%d}" for date in dates])

        def act(_: Knobs) -> tuple[web.Response, Job | None]:
            self.vendor.effects[request.query_string] += 1
            return web.json_response(answer), None

        return await self.engine.take(self.vendor, request, request.query_string, act)


class _Sky:
    def __init__(
        self, chance: random.Random, units: Mapping[str, tuple[str, Callable[[float], float]]]
    ) -> None:
        self._chance = chance
        self._units = units

    def table(
        self,
        title: str,
        known: Mapping[str, tuple[str, float, float]],
        names: list[str],
        times: str | list[str],
    ) -> Document:
        """Make one of the answer's tables: a value for one time, a column for many."""
        units: Document = {"time": "iso8601"}
        values: Document = {"time": times}
        if isinstance(times, str):
            units["interval"], values["interval"] = "seconds", 900
        for name in names:
            unit, least, most = known[name]
            units[name], convert = self._units.get(unit, (unit, float))
            count = 1 if isinstance(times, str) else len(times)
            column = [convert(self._chance.uniform(least, most)) for _ in range(count)]
            column = [round(value, None if unit in WHOLE else 1) for value in column]
            values[name] = column[0] if isinstance(times, str) else column
        return {f"{title}_units": units, title: values}


def _names(query: MultiMapping[str], title: str, known: Mapping[str, tuple[str, float, float]]) -> list[str]:
    names = [name for name in ",".join(query.getall(title, [])).split(",") if name]
    for name in names:
        if name not in known:
            reason = (
                f"Data corrupted at path ''. Cannot initialize variable from invalid String value {name}."
            )
            raise Refusal(400, error(400, reason))
    return names


def _conversions(query: Mapping[str, str]) -> dict[str, tuple[str, Callable[[float], float]]]:
    found = {}
    for name, choices in UNITS.items():
        asked = query.get(name, next(iter(choices)))
        if asked not in choices:
            reason = f"Data corrupted at path ''. Cannot initialize unit from invalid String value {asked}."
            raise Refusal(400, error(400, reason))
        base, unit, convert = choices[asked]
        found[base] = (unit, convert)
    return found


def _degrees(query: Mapping[str, str], name: str, most: int) -> float:
    text = query.get(name)
    if text is None:
        raise Refusal(400, error(400, f"Parameter '{name}' is required."))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise Refusal(400, error(400, f"Parameter '{name}' is not a number."))
    if not -most <= value <= most:
        reason = f"{name.capitalize()} must be in range of -{most} to {most}°. Given: {value}."
        raise Refusal(400, error(400, reason))
    return value
