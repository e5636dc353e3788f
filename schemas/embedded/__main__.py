"""`python -m schemas.embedded`: the registry without the rest of the command line."""

import sys

import click

from schemas.embedded.serve import DEFAULT_PORT, DEFAULT_TOPIC, serve
from thalweg.errors import ThalwegError
from thalweg.settings import load_settings
from thalweg.telemetry import configure_logging


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="0 picks a free one.")
@click.option("--bootstrap", help="host:port of the Kafka brokers; from the settings when left out.")
@click.option("--topic", default=DEFAULT_TOPIC, show_default=True, help="Compacted topic that keeps the schemas.")
def main(host: str, port: int, bootstrap: str | None, topic: str) -> None:
    """Serve a development schema registry until SIGTERM or Ctrl-C."""
    configure_logging()
    try:
        settings = load_settings(**({"kafka": {"bootstrap": bootstrap}} if bootstrap else {}))
        serve(settings.kafka, host, port, topic, lambda url: click.echo(f"schema registry at {url}"))
    except ThalwegError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
