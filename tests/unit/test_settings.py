"""Settings: where they come from, what wins, and that the page names each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from thalweg.errors import ConfigurationError
from thalweg.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without configuration, and an environment without ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THALWEG_CONFIG", raising=False)
    return tmp_path


def every(model: type[BaseModel] = Settings, prefix: str = "THALWEG_") -> Iterator[tuple[str, FieldInfo]]:
    """Each setting's environment variable and field."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from every(kind, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}", field


def test_the_page_names_every_setting_with_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `THALWEG_")}
    assert set(rows) == {variable for variable, _ in every()}
    for variable, field in every():
        assert field.description, f"{variable} does not say what it is"
        assert field.description in rows[variable], variable


def test_the_environment_wins_over_the_file_and_the_file_over_the_running_stack(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / ".thalweg").mkdir()
    (elsewhere / ".thalweg" / "stack.json").write_text('{"bootstrap": "stack:1", "registry": "http://stack:2"}')
    assert load_settings().kafka.bootstrap == "stack:1"
    (elsewhere / "thalweg.toml").write_text('[kafka]\nbootstrap = "file:1"\nprefix = "p"\n')
    assert load_settings().kafka.bootstrap == "file:1"
    monkeypatch.setenv("THALWEG_KAFKA__BOOTSTRAP", "env:1")
    settings = load_settings()
    assert (settings.kafka.bootstrap, settings.kafka.prefix, settings.registry.url) == ("env:1", "p", "http://stack:2")


def test_a_wrong_setting_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THALWEG_INGEST__COMMIT_INTERVAL_S", "soon")
    with pytest.raises(ConfigurationError, match=r"ingest\.commit_interval_s") as caught:
        load_settings()
    assert "docs/settings.md" in caught.value.remedy


def test_a_stack_file_that_is_no_json_is_named(elsewhere: Path) -> None:
    (elsewhere / ".thalweg").mkdir()
    (elsewhere / ".thalweg" / "stack.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"stack\.json"):
        load_settings()


def test_settings_do_not_change_once_they_are_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().kafka.prefix = "other"  # type: ignore[misc]  # that is the point


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THALWEG_REGISTRY__BASIC_AUTH", "me:hunter2")
    monkeypatch.setenv("THALWEG_TABLES__STORAGE_OPTIONS", '{"AWS_SECRET_ACCESS_KEY": "hunter2"}')
    monkeypatch.setenv("THALWEG_KAFKA__PROPERTIES", '{"sasl.password": "hunter2"}')
    assert "hunter2" not in repr(load_settings())
