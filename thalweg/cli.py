"""The `thalweg` command. Groups are loaded when they are called, so `thalweg --help` is quick."""

import ast
import importlib
import pkgutil
import sys
from importlib import resources
from typing import Any

import click

from thalweg import commands
from thalweg.errors import ThalwegError


class _LazyGroup(click.Group):
    """Finds its commands in `thalweg.commands`: module `foo_bar` holds `thalweg foo-bar` as its `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = importlib.import_module(f"thalweg.commands.{cmd_name.replace('-', '_')}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by the first lines of their modules: importing them all would take a second."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in self.list_commands(ctx)])


def _summary(name: str) -> str:
    """What a command's module says it does, after the colon of its docstring's first line."""
    source = resources.files(commands).joinpath(f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(source)) or "").split("\n", 1)[0]
    return first.partition(": ")[2].rstrip(".")


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="thalweg")
@click.pass_context
def main_group(ctx: click.Context) -> None:
    """Kafka to Delta, exactly once; every row traceable to the offset it came from."""
    from thalweg.settings import load_settings  # pydantic costs 0.1 s, and --help does not need it

    ctx.obj = load_settings()


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. Errors that Thalweg raises on purpose become a message and an exit code."""
    try:
        return main_group(args=arguments, prog_name="thalweg", standalone_mode=True)
    except ThalwegError as error:
        click.secho(f"error: {error.message}", fg="red", err=True)
        if error.remedy:
            click.secho(f"  → {error.remedy}", err=True)
        sys.exit(error.exit_code)
