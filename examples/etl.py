"""A small ETL over a real file: the world's time zones (IANA tz database, public domain).

    tailrace run etl
    tailrace run etl --input '{"fail": true}'

data/zones.csv holds the database's zone.tab as CSV: a country code, coordinates as
±DDMM±DDDMM[SS] and a zone. Two branches count in parallel what one parsed list gives.
"""

import csv
import re
from collections import Counter
from pathlib import Path

import anyio
from pydantic import BaseModel

from tailrace import flow, node

FILE = Path(__file__).parent / "data" / "zones.csv"
_COORDINATES = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?([+-])(\d{3})(\d{2})(\d{2})?")


class Zone(BaseModel):
    """A time zone's principal place, in degrees."""

    country: str
    latitude: float
    longitude: float
    name: str


class Report(BaseModel):
    """What the flow finds."""

    zones: int
    countries: int
    most_zones: list[tuple[str, int]]
    hemispheres: dict[str, int]
    northernmost: str
    southernmost: str


def degrees(sign: str, whole: str, minutes: str, seconds: str | None) -> float:
    """Degrees, minutes and seconds as one number."""
    value = int(whole) + int(minutes) / 60 + int(seconds or 0) / 3600
    return round(-value if sign == "-" else value, 4)


@node(effects="read_only", determinism="stable")
async def extract(path: str) -> list[dict[str, str]]:
    """Read the file's rows."""
    text = await anyio.Path(path).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@node(effects="pure", determinism="strict")
async def parse(rows: list[dict[str, str]]) -> list[Zone]:
    """Turn coordinates into degrees."""
    zones = []
    for row in rows:
        match = _COORDINATES.fullmatch(row["coordinates"])
        if match is None:
            raise ValueError(f"{row['zone']}: {row['coordinates']!r} are no coordinates")
        parts = match.groups()
        zones.append(
            Zone(
                country=row["country"],
                latitude=degrees(parts[0], parts[1], parts[2], parts[3]),
                longitude=degrees(parts[4], parts[5], parts[6], parts[7]),
                name=row["zone"],
            )
        )
    return zones


@node(effects="pure", determinism="strict")
async def by_country(zones: list[Zone]) -> dict[str, int]:
    """Count zones for each country."""
    return dict(Counter(zone.country for zone in zones))


@node(effects="pure", determinism="strict")
async def by_hemisphere(zones: list[Zone]) -> dict[str, int]:
    """Count zones for each quarter of the globe."""
    return dict(
        Counter(
            ("north" if zone.latitude >= 0 else "south")
            + ("east" if zone.longitude >= 0 else "west")
            for zone in zones
        )
    )


@node(effects="pure", determinism="strict")
async def verify(zones: list[Zone], countries: dict[str, int], fail: bool) -> int:
    """Check that nothing was lost on the way."""
    if fail:
        raise ValueError("asked to fail, by the flow's input")
    if sum(countries.values()) != len(zones):
        raise ValueError("the countries do not add up to the zones")
    return len(zones)


@node(effects="pure", determinism="strict")
async def report(
    count: int, zones: list[Zone], countries: dict[str, int], hemispheres: dict[str, int]
) -> Report:
    """Put the findings together."""
    by_latitude = sorted(zones, key=lambda zone: zone.latitude)
    return Report(
        zones=count,
        countries=len(countries),
        most_zones=sorted(countries.items(), key=lambda item: (-item[1], item[0]))[:5],
        hemispheres=hemispheres,
        northernmost=by_latitude[-1].name,
        southernmost=by_latitude[0].name,
    )


@flow(name="etl", deadline_ms=60_000)
def etl(path: str = str(FILE), fail: bool = False) -> object:
    """Extract, parse, count in two branches, verify, report."""
    zones = parse(extract(path))
    countries = by_country(zones)
    hemispheres = by_hemisphere(zones)
    count = verify(zones, countries, fail)
    return report(count, zones, countries, hemispheres)
