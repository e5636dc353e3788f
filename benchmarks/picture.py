"""A picture of the throughput benchmark's last result: one bar a contestant. SVG, which a README shows as it is.

Run: python -m benchmarks.picture
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from benchmarks.figures import RESULTS
from benchmarks.world import REPOSITORY

PICTURE = REPOSITORY / "docs" / "images" / "throughput.svg"
NAMES = {
    "consume_only": "only consuming, confluent-kafka",
    "thalweg_bulk": "Thalweg, bulk source",
    "thalweg": "Thalweg, public source",
    "spark": "Spark Structured Streaming + Delta, steady",
    "plain": "plain Python: deserialize, from_pylist, write",
}
WIDTH, LEFT, RIGHT, ROW, TOP = 860, 310, 150, 34, 62
OURS, THEIRS, TEXT = "#0b7285", "#adb5bd", "#495057"  # all three can be read on white and on black


def draw(result: Mapping[str, Any]) -> str:
    """The SVG of a result."""
    bars = [(label, name, _rate(result["runs"][name])) for name, label in NAMES.items() if name in result["runs"]]
    most = max(rate for _, _, rate in bars)
    height = TOP + ROW * len(bars) + 14
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14" fill="{TEXT}">',
        f'<text x="0" y="18" font-size="16" font-weight="bold">{escape(_title(result))}</text>',
        f'<text x="0" y="38" font-size="12">{escape(_machine(result["machine"]))}</text>',
    ]
    for number, (label, name, rate) in enumerate(bars):
        y = TOP + ROW * number
        width = max(2.0, (WIDTH - LEFT - RIGHT) * rate / most)
        color = OURS if name.startswith("thalweg") else THEIRS
        cost = result["runs"][name]["cpu_us_per_record"]
        lines += [
            f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 10}" rx="3" fill="{color}"/>',
            f'<text x="{LEFT + width + 8:.1f}" y="{y + 17}">{_short(rate)}/s · {cost:,.1f} µs</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _rate(run: Mapping[str, Any]) -> float:
    return float(run.get("steady_rate_per_s", run["rate_per_s"]))


def _title(result: Mapping[str, Any]) -> str:
    return f"Records landed a second, and processor time a record: {result['records']:,} events of {result['record_bytes']:.0f} bytes"


def _machine(machine: Mapping[str, Any]) -> str:
    return (
        f"{machine['cores']} cores of {machine['processor']}, the broker on them too; medians; {machine['when'][:10]}"
    )


def _short(rate: float) -> str:
    return f"{rate / 1e6:.2f} M" if rate >= 1e6 else f"{rate / 1e3:,.0f} k" if rate >= 1e5 else f"{rate / 1e3:,.1f} k"


def main() -> None:
    """Draw the last result."""
    PICTURE.write_text(draw(json.loads((RESULTS / "throughput.json").read_text())))
    print(PICTURE)


if __name__ == "__main__":
    main()
