"""What makes landing harder, beside the plain case in the same round: rules, poison, many dates, wide and large records; and
what more records cost: time in proportion, memory not at all.

Every table is proven afterwards by `thalweg verify`: each offset of the topic is a row or in the quarantine, once.

Run: python -m benchmarks.cases [--records N] [--rounds N] [--sizes N …] [--sources public bulk]
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import events, figures
from benchmarks.world import DECLARATION, TOPIC, World, world
from produce import flights, shop
from produce.batches import Source

RULES = [
    {"not_null": "event_id"},
    {"not_null": "session_id"},
    {"not_null": "user_id"},
    {"range": {"field": "quantity", "min": 1, "max": 1000}},
    {"range": {"field": "price", "min": 0}},
    {"range": {"field": "event_time", "min": "2020-01-01T00:00:00Z"}},
    {"one_of": {"field": "currency", "values": ["EUR", "USD", "GBP", "CHF", "SEK", "NOK"]}},
    {"one_of": {"field": "kind", "values": ["VIEW", "CART", "BUY", "REFUND"]}},
    {"sql": {"name": "product_is_known", "expression": "kind = 'VIEW' OR product_id IS NOT NULL"}},
    {"sql": {"name": "total_is_sane", "expression": "quantity * price < 100000000"}},
]
FLIGHTS = {"topics": ["flights"], "partition": {"field": "time_hour", "time_zone": "America/New_York"}}
# The case that others are held against.
PLAIN = "three dates"


@dataclass(frozen=True, slots=True)
class Case:
    """What is landed: a declaration, the topic's records, and how many bad ones among them."""

    declared: Mapping[str, Any]
    source: Source
    poison: int = 0


def main(records: int, rounds: int, sizes: Sequence[int], sources: Sequence[str]) -> None:
    """Measure, tell, keep."""
    result: dict[str, Any] = {"machine": figures.machine(), "records": records, "rounds": rounds}
    with world() as here:
        filled = {name: (case, _fill(here, case)) for name, case in _cases(records).items()}
        for source in sources:
            result[source] = _compared(here, filled, rounds, source)
    with world() as here:
        topics = {size: f"shop-{size}" for size in sizes}
        held = {size: here.fill(topic, shop.source(size)) for size, topic in topics.items()}
        for source in sources:
            result[f"{source}_sizes"] = {
                size: figures.summed_up(
                    [_land(here, {"topics": [topic]}, held[size], source) for _ in range(rounds)], MEASURED
                )
                for size, topic in topics.items()
            }
    for source in sources:
        _show(result, source)
    print(figures.write("cases", result))


MEASURED = ("rate_per_s", "seconds", "cpu_us_per_record", "peak_rss_mb")


def _cases(records: int) -> dict[str, Case]:
    return {
        PLAIN: Case({}, shop.source(records)),
        "ten rules": Case({"contract": {"rules": RULES}}, shop.source(records)),
        "1 % poison": Case({"topics": ["poisoned"]}, shop.source(records - records // 100), records // 100),
        "flights, 365 dates": Case(FLIGHTS, events.flights_again(-(-records // flights.COUNT))),
        "200 fields": Case({"topics": ["wide"]}, events.wide(records // 20)),
        "10 kB": Case({"topics": ["large"]}, events.large(records // 40)),
    }


def _fill(here: World, case: Case) -> int:
    """Fill the case's topic, once for all cases that read it; how many records are in it."""
    (topic,) = case.declared.get("topics", [TOPIC])
    return here.fill_once(topic, case.source, case.poison)


def _compared(
    here: World, filled: Mapping[str, tuple[Case, int]], rounds: int, source: str
) -> dict[str, dict[str, Any]]:
    """Each case's medians, and its rate by the plain case's of the same round."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        for name, (case, held) in filled.items():
            found = _land(here, case.declared, held, source)
            runs.setdefault(name, []).append(found)
            print(f"round {number + 1}, {source}: {name:20} {found['rate_per_s']:>9,.0f} records/s", flush=True)
    plain = [each["rate_per_s"] for each in runs[PLAIN]]
    return {
        name: {
            **figures.summed_up(found, (*MEASURED, "mb_per_s")),
            "files": found[-1]["files"],
            "quarantined": found[-1]["quarantined"],
            "of_plain": figures.spread([each["rate_per_s"] / rate for each, rate in zip(found, plain, strict=True)]),
        }
        for name, found in runs.items()
    }


def _land(here: World, declared: Mapping[str, Any], held: int, source: str) -> dict[str, Any]:
    run = here.land({**DECLARATION, **declared}, held, THALWEG_INGEST__SOURCE=source)
    here.verify(run)
    (topic,) = declared.get("topics", [TOPIC])
    files = [file.stat().st_size for file in run.table.rglob("*.parquet") if "_delta_log" not in file.parts]
    shutil.rmtree(run.settings.home)
    return {
        **run.figures,
        "files": len(files),
        "mb_per_s": run.figures["rate_per_s"] * here.record_bytes[topic] / 1e6,
        "cpu_us_per_record": run.figures["cpu_seconds"] / run.figures["records"] * 1e6,
    }


def _show(result: Mapping[str, Any], source: str) -> None:
    columns = ["", "records/s", "of plain", "least", "most", "MB/s", "CPU µs", "peak MB", "files", "quarantined"]
    rows = [
        [
            name,
            run["rate_per_s"],
            *run["of_plain"].values(),
            *(run[key] for key in ("mb_per_s", "cpu_us_per_record", "peak_rss_mb", "files", "quarantined")),
        ]
        for name, run in result[source].items()
    ]
    figures.show(f"{source} source, medians of {result['rounds']} rounds", columns, rows)
    rows = [[f"{size:,} events", *(run[key] for key in MEASURED)] for size, run in result[f"{source}_sizes"].items()]
    figures.show(f"{source} source, by size", ["", "records/s", "seconds", "CPU µs", "peak MB"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500_000, 2_000_000, 8_000_000])
    parser.add_argument("--sources", nargs="+", default=["public", "bulk"])
    main(**vars(parser.parse_args()))
