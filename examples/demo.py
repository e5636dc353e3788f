"""One event's whole way, on every flight that left New York in 2013: what `make demo` runs.

It only types commands that you could type, in a folder of its own (.thalweg/demo), and ends everything it started.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import IO

HOME = Path(".thalweg/demo").absolute()
FLIGHTS = 336_776
POISON = 12
PATIENCE_S = 120
THALWEG = [sys.executable, "-m", "thalweg"]

# What the demo starts knows nothing of a broker or a table of yours. Small landings, so that there are versions to see.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith("THALWEG_") or "_STACK__" in name
} | {
    "THALWEG_HOME": str(HOME),
    "THALWEG_TABLES__ROOT": str(HOME / "tables"),
    "THALWEG_LINEAGE__STORE": f"sqlite:///{HOME}/lineage.db",
    "THALWEG_INGEST__COMMIT_INTERVAL_S": "0.5",
    "THALWEG_COMPACTOR__MIN_FILES": "2",
    "PYTHONUNBUFFERED": "1",
    **({} if sys.stdout.isatty() else {"COLUMNS": "120"}),
}

BOLD, DIM, GREEN, RED, PLAIN = (
    ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 5
)


def main() -> int:
    """Run the demo; 0 when every flight landed and the proof is clean."""
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    with ExitStack() as running:
        try:
            return _demo(running, started)
        except KeyboardInterrupt:
            print(f"\n{DIM}interrupted: ending what was started{PLAIN}", flush=True)
            return 130


def _demo(running: ExitStack, started: float) -> int:
    title("A real Kafka, and a schema registry")
    subprocess.run([*THALWEG, "stack", "down", "--wipe"], env=ENVIRONMENT, capture_output=True, check=False)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    running.callback(
        subprocess.run, [*THALWEG, "stack", "down", "--wipe"], env=ENVIRONMENT, capture_output=True, check=False
    )
    run("stack", "up")

    title("Declare a dataset: one topic, one table, one date, six rules")
    run("apply", "examples/flights.yaml", "--create-topics", "4")

    title("Start the services: ingest, announcer, lineage")
    ingest = Service(running, "ingest", "flights")
    announcer = Service(running, "announce")
    lineage = Service(running, "lineage", "serve", "--port", "0")
    metrics, page = ingest.url('"metrics": "'), lineage.url("page at ")
    announcer.url('"metrics": "')

    title(f"Produce {FLIGHTS:,} flights and {POISON} bad records; versions of the table arrive as they are committed")
    show("versions", "tail", "flights")
    tail = start("versions", "tail", "flights", "--since", "earliest")
    running.callback(end, tail)
    run("produce", "flights", "--poison", str(POISON))
    wait_until_landed(metrics, ingest)
    time.sleep(1.0)  # the last version's event
    end(tail)
    landed = int(sample(metrics, "thalweg_records_landed_total"))
    say(
        f"{landed:,} of {FLIGHTS:,} flights landed, {time.monotonic() - started:.0f} s after the start",
        landed == FLIGHTS,
    )

    title("Where the bad records are, and why")
    run("quarantine", "list", "flights", "--limit", str(POISON))

    title("Merge small files; nothing else changes")
    run("compact", "flights", "--once")

    title("Where one offset went, and what made the newest version")
    run("where", "flights/0/1000")
    run("lineage", "upstream", "flights", "--version", "newest")

    title("Proof, from Kafka and the table: no offset is missing, none is there twice")
    verified = run("verify", "flights", check=False) == 0
    say("nothing lost, nothing twice" if verified else "verify found a fault", verified)

    title("Look for yourself")
    print(f"  the lineage page   {BOLD}{page}{PLAIN}")
    print(f"  the table          {HOME / 'tables' / 'flights'}")
    print(f"  next               {BOLD}THALWEG_HOME={HOME} .venv/bin/thalweg --help{PLAIN}, and the guide in README.md")
    if sys.stdin.isatty() and sys.stdout.isatty():
        input(f"\n{DIM}Everything runs until you press Enter.{PLAIN} ")
    print(f"{DIM}done in {time.monotonic() - started:.0f} s; ending what was started{PLAIN}", flush=True)
    return 0 if verified and landed == FLIGHTS else 1


class Service:
    """A long-running command of ours, with its log in .thalweg/demo/logs; ended with the demo."""

    def __init__(self, running: ExitStack, *arguments: str) -> None:
        show(*arguments)
        self.log = HOME / "logs" / f"{arguments[0]}.log"
        self.log.parent.mkdir(exist_ok=True)
        file: IO[bytes] = running.enter_context(self.log.open("wb"))
        self.process = start(*arguments, output=file)
        running.callback(end, self.process)

    def url(self, before: str) -> str:
        """The URL that the service says it serves, after the words `before`."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := re.search(re.escape(before) + r'(http[^\s"]+)', self.log.read_text(errors="replace"))):
            self.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"{RED}no answer in {PATIENCE_S} s{PLAIN}: see {self.log}")
            time.sleep(0.05)
        return found[1]

    def check(self) -> None:
        """End the demo if the service has ended."""
        if self.process.poll() is not None:
            raise SystemExit(
                f"{RED}a service ended with {self.process.returncode}{PLAIN}:\n{self.log.read_text(errors='replace')[-3000:]}"
            )


def wait_until_landed(metrics: str, ingest: Service) -> None:
    """Wait until every record was landed or quarantined."""
    deadline = time.monotonic() + PATIENCE_S
    while (
        sample(metrics, "thalweg_records_landed_total") + sample(metrics, "thalweg_records_quarantined_total")
        < FLIGHTS + POISON
    ):
        ingest.check()
        if time.monotonic() > deadline:
            raise SystemExit(f"{RED}not landed in {PATIENCE_S} s{PLAIN}: see {ingest.log}")
        time.sleep(0.1)


def sample(metrics: str, name: str) -> float:
    """Sum of a metric's samples."""
    with urllib.request.urlopen(metrics, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))


def run(*arguments: str, check: bool = True) -> int:
    """Type a command and show what it says."""
    show(*arguments)
    process = start(*arguments)
    try:
        ended = process.wait()
    finally:
        end(process)
    if check and ended:
        raise SystemExit(f"{RED}that ended with {ended}{PLAIN}; logs are in {HOME / 'logs'}")
    return ended


def start(*arguments: str, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in a group of its own: Ctrl-C reaches the demo, which ends what it started in order."""
    return subprocess.Popen(
        [*THALWEG, *arguments],
        env=ENVIRONMENT,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, then make it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def title(text: str) -> None:
    """Begin a step."""
    print(f"\n{BOLD}▍{text}{PLAIN}", flush=True)


def show(*arguments: str) -> None:
    """Show a command as one would type it."""
    print(f"{DIM}$ thalweg {' '.join(arguments)}{PLAIN}", flush=True)


def say(text: str, good: bool) -> None:
    """Tell an outcome."""
    print(f"{GREEN if good else RED}{'✔' if good else '✘'} {text}{PLAIN}", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
