"""The command line: quick to ask, and errors that say what to do."""

import subprocess
import sys

import click
import pytest

from thalweg.cli import _LazyGroup, _summary, main, main_group


def names() -> list[str]:
    """All commands."""
    return main_group.list_commands(click.Context(main_group))


@pytest.mark.parametrize("name", names())
def test_every_command_is_listed_with_what_it_does_and_can_be_loaded(name: str) -> None:
    assert len(_summary(name)) > 10
    command = _LazyGroup().get_command(click.Context(main_group), name)
    assert command is not None
    assert command.help


def test_asking_for_help_imports_no_command() -> None:
    script = (
        "import sys; from thalweg.cli import main_group\n"
        "try: main_group(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('ingest', 'pydantic', 'numba', 'pyarrow', 'deltalake')))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "Commands:" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "[]"


def test_an_error_of_ours_is_a_message_a_remedy_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THALWEG_KAFKA__REPLICATION", "none")
    with pytest.raises(SystemExit) as ended:
        main(["stack", "status"])
    shown = capsys.readouterr().err
    assert ended.value.code == 2
    assert "error: settings: kafka.replication" in shown
    assert "→ see docs/settings.md" in shown


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inges"])
    assert "No such command" in capsys.readouterr().err
