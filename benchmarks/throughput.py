"""Thalweg beside what a user would pick instead: the same topic, the same machine, in turn, several rounds.

Contestants: Thalweg with its public and its bulk source; a loop that only consumes (the ceiling of confluent-kafka's
public interface); plain Python; Spark Structured Streaming with Delta. Each is a process of its own that starts from
nothing. Every table is read afterwards: all rows, all ids distinct. Medians of the rounds; ratios are taken within a
round, so that a machine that gets slower does not favour anybody.

Run: python -m benchmarks.throughput [--records N] [--rounds N] [--spark]
"""

import argparse
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.peers import spark_environment
from benchmarks.verification import count
from benchmarks.world import DECLARATION, TOPIC, World, world
from produce import shop

MEASURED = ("rate_per_s", "mb_per_s", "cpu_us_per_record", "peak_rss_mb")
# Ratio and the run that it is taken against; those of the bulk source begin with `bulk_`.
AGAINST = {"plain": "plain", "spark_steady": "spark", "consume_only": "consume_only"}

Contestant = Callable[[], dict[str, Any]]


def main(records: int, rounds: int, spark: bool) -> None:
    """Measure, tell, keep."""
    with world() as here:
        print(f"producing {records:,} shop events", flush=True)
        here.fill(TOPIC, shop.source(records))
        size = here.record_bytes[TOPIC]
        runs: dict[str, list[dict[str, Any]]] = {}
        for number in range(rounds):
            for name, contestant in contestants(here, records, spark).items():
                found = _measured(contestant(), size)
                runs.setdefault(name, []).append(found)
                print(
                    f"round {number + 1}: {name:13} {found['rate_per_s']:>9,.0f} records/s"
                    f"  {found['cpu_us_per_record']:6.2f} µs  {found['peak_rss_mb']:5,.0f} MB",
                    flush=True,
                )
    result = {
        "machine": figures.machine(),
        "records": records,
        "record_bytes": round(size, 1),
        "rounds": rounds,
        "runs": {name: _summed_up(found) for name, found in runs.items()},
        **_ratios(runs),
    }
    _show(result)
    print(figures.write("throughput", result))


def contestants(here: World, records: int, spark: bool) -> dict[str, Contestant]:
    """Who takes part, by the name in the results."""
    found: dict[str, Contestant] = {
        "thalweg": lambda: _checked(here, records, lambda _: _thalweg(here, records, "public")),
        "thalweg_bulk": lambda: _checked(here, records, lambda _: _thalweg(here, records, "bulk")),
        "consume_only": lambda: here.run(
            ["benchmarks.peers.consume_only", *_arguments(here, records)],
        ),
        "plain": lambda: _checked(here, records, lambda table: _plain(here, records, table)),
    }
    if spark:
        found["spark"] = lambda: _checked(here, records, lambda table: _spark(here, records, table))
    return found


def _thalweg(here: World, records: int, source: str) -> tuple[dict[str, Any], Path]:
    run = here.land(DECLARATION, records, THALWEG_INGEST__SOURCE=source)
    return dict(run.figures), run.table


def _plain(here: World, records: int, table: Path) -> tuple[dict[str, Any], Path]:
    arguments = [*_arguments(here, records), "--registry", here.registry, "--table", str(table)]
    return here.run(["benchmarks.peers.plain", *arguments]), table


def _spark(here: World, records: int, table: Path) -> tuple[dict[str, Any], Path]:
    arguments = [*_arguments(here, records), "--table", str(table)]
    python, environment = spark_environment.ready()
    return here.run(["benchmarks.peers.spark", *arguments], python=str(python), **environment), table


def _arguments(here: World, records: int) -> list[str]:
    return ["--bootstrap", here.bootstrap, "--topic", TOPIC, "--records", str(records)]


def _checked(here: World, records: int, run: Callable[[Path], tuple[dict[str, Any], Path]]) -> dict[str, Any]:
    """Run into a table, read it, remove it. Raises RuntimeError when a row is missing or there twice."""
    found, table = run(here.folder / "table")
    rows, distinct = count(str(table))
    if (rows, distinct) != (records, records):
        raise RuntimeError(f"{table}: {rows} rows and {distinct} distinct ids of {records} events")
    files = [file.stat().st_size for file in table.rglob("*.parquet") if "_delta_log" not in file.parts]
    shutil.rmtree(table)
    return {**found, "rows": rows, "distinct": distinct, "files": len(files), "table_mb": sum(files) / 1e6}


def _measured(found: Mapping[str, Any], size: float) -> dict[str, Any]:
    """Add what follows from a run's own figures."""
    return {
        "rows": None,
        "distinct": None,
        "files": None,
        **found,
        "mb_per_s": found["rate_per_s"] * size / 1e6,
        "cpu_us_per_record": found["cpu_seconds"] / found["records"] * 1e6,
    }


def _summed_up(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    more = ("steady_rate_per_s", "start_up_s", "table_mb")
    names = [*MEASURED, *(name for name in more if name in rounds[0])]
    last = rounds[-1]
    return {
        **figures.summed_up(rounds, names),
        **{name: last[name] for name in ("rows", "distinct", "files")},
        "versions": last["versions"],
    }


def _ratios(runs: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Thalweg's rate by a peer's, in the same round: medians, and their spread."""
    spreads = {}
    for prefix, ours in (("", "thalweg"), ("bulk_", "thalweg_bulk")):
        for name, peer in AGAINST.items():
            if peer in runs:
                rates = [each.get("steady_rate_per_s", each["rate_per_s"]) for each in runs[peer]]
                pairs = zip(runs[ours], rates, strict=True)
                spreads[prefix + name] = figures.spread([each["rate_per_s"] / rate for each, rate in pairs])
    return {
        "ratios": {name: round(found["median"], 3) for name, found in spreads.items()},
        "ratio_spreads": {name: [round(found["min"], 3), round(found["max"], 3)] for name, found in spreads.items()},
    }


def _show(result: Mapping[str, Any]) -> None:
    title = f"{result['records']:,} shop events of {result['record_bytes']:.0f} B, medians of {result['rounds']} rounds"
    columns = ["", "records/s", "least", "most", "MB/s", "CPU µs", "peak MB", "files", "table MB"]
    rows = [
        [
            name,
            *(run[key] for key in ("rate_per_s", "rate_per_s_min", "rate_per_s_max", "mb_per_s", "cpu_us_per_record")),
            run["peak_rss_mb"],
            run["files"],
            run.get("table_mb"),
        ]
        for name, run in result["runs"].items()
    ]
    figures.show(title, columns, rows)
    told = [
        [f"{'bulk' if name.startswith('bulk_') else 'public'} source : {name.removeprefix('bulk_')}", ratio, *spread]
        for (name, ratio), spread in zip(result["ratios"].items(), result["ratio_spreads"].values(), strict=True)
    ]
    figures.show("Thalweg's rate by a peer's", ["", "median", "least", "most"], told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--spark", action="store_true", help="Spark too: takes a Java and about 1 GB of downloads, once"
    )
    main(**vars(parser.parse_args()))
