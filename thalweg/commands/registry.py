"""`thalweg registry`: the schema registry for development."""

import click

from thalweg.settings import Settings


@click.group()
def command() -> None:
    """The embedded schema registry, for development."""


@command.command()
@click.option("--host", help="Address to listen on; the http.host setting (loopback) when left out.")
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks a free one; http.port or 8081 when left out.")
@click.option("--topic", default="_schemas", show_default=True, help="Compacted topic that keeps the schemas.")
@click.pass_obj
def serve(settings: Settings, host: str | None, port: int | None, topic: str) -> None:
    """Serve Confluent's REST interface until SIGTERM or Ctrl-C."""
    from schemas.embedded.serve import DEFAULT_PORT  # the web server costs 0.2 s, and --help does not need it
    from schemas.embedded.serve import serve as serve_registry
    from thalweg.telemetry import configure_logging

    configure_logging()
    chosen = next(wish for wish in (port, settings.http.port, DEFAULT_PORT) if wish is not None)
    serve_registry(
        settings.kafka,
        host or settings.http.host,
        chosen,
        topic,
        lambda url: click.echo(f"schema registry at {url} (topic {topic}); Ctrl-C ends it"),
    )
