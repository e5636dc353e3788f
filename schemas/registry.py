"""The schema registry, as Thalweg sees it. Behind it is confluent-kafka's own client, which users already know.

Works with every registry that speaks Confluent's REST interface: Confluent's, Karapace, Apicurio (its `ccompat` path),
and the embedded one.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from thalweg.clock import Clock, SystemClock
from thalweg.errors import ConfigurationError, RegistryUnavailable, SchemaNotFound, UnsupportedSchema
from thalweg.settings import RegistrySettings

# Between tries: random up to this, doubling, never beyond the second.
_FIRST_WAIT_MS, _LONGEST_WAIT_MS = 100, 2000

# An unknown id is asked for again after this long: its producer may have registered it meanwhile.
_UNKNOWN_FOR_S = 10.0

# Garbage that looks framed has a new id in every record. So many unknown ids are asked for at once, and then so many a second.
_UNKNOWN_AT_ONCE, _UNKNOWN_PER_S = 100, 50.0

# Registry error codes that say "there is no such thing": https://docs.confluent.io/platform/current/schema-registry/develop/api.html#errors
_NOT_FOUND = range(40400, 40500)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A version of a subject. `schema` is Avro JSON text."""

    subject: str
    version: int
    schema_id: int
    schema: str


class Registry:
    """Asks the registry, and remembers what cannot change: the schema of an id. Threads may share one.

    Raises ConfigurationError when no registry is set or its settings cannot be used. Every call raises
    RegistryUnavailable when no URL answers within the settings' tries, refuses the credentials, or answers what a
    registry would not.
    """

    def __init__(self, settings: RegistrySettings, clock: Clock | None = None) -> None:
        self._urls, login = _addresses(settings)
        self._secrets = _secrets(settings, login)
        self._clock = clock or SystemClock()
        self._retries, self._timeout_s = settings.retries, settings.timeout_s
        try:
            self._client = SchemaRegistryClient(_configuration(settings, self._urls, login))
        except (ValueError, OSError) as error:  # a file that is missing or no PEM, a key without its certificate
            raise ConfigurationError(
                f"the registry's settings cannot be used: {self._without_secrets(str(error))}",
                "check registry.ca, registry.certificate, registry.key and registry.basic_auth",
            ) from None
        self._schemas: OrderedDict[int, str] = OrderedDict()
        self._capacity = settings.cached_schemas
        self._calls = 0
        self._unknown = _Unknown(self._clock, settings.cached_schemas)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Registry({', '.join(self._urls)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def schema(self, schema_id: int) -> str:
        """The Avro JSON text of an id.

        Raises SchemaNotFound when the registry has none; for some seconds it then is not asked again. Raises
        UnsupportedSchema for JSON or Protobuf schemas, and for Avro schemas that refer to others.
        """
        with self._lock:
            if (known := self._schemas.get(schema_id)) is not None:
                self._schemas.move_to_end(schema_id)
                return known
        if self._unknown.known(schema_id):
            raise self._no_schema(schema_id)
        self._unknown.wait_for_turn()
        try:
            found = self._ask(f"schema {schema_id}", lambda: self._client.get_schema(schema_id))
        except SchemaNotFound:
            self._unknown.add(schema_id)
            raise self._no_schema(schema_id) from None
        text = self._avro(found, f"schema {schema_id}")
        self._keep(schema_id, text)
        return text

    def register(self, subject: str, schema: str) -> int:
        """Register Avro JSON text under a subject, unless it is there already; return its id.

        Raises ConfigurationError when the registry refuses it: no Avro, or not compatible with what is registered.
        """
        schema_id = self._ask(
            f"subject {subject}", lambda: self._client.register_schema(subject, Schema(schema, "AVRO"))
        )
        if not isinstance(schema_id, int):
            self._lied(f"registering under {subject}", "gave no id")
        self._unknown.forget(schema_id)
        return schema_id

    def latest(self, subject: str) -> RegisteredSchema:
        """The newest version of a subject, as the registry has it now. Raises SchemaNotFound and UnsupportedSchema."""
        found = self._ask(f"subject {subject}", lambda: self._client.get_version(subject, "latest"))
        if not isinstance(found.version, int) or not isinstance(found.schema_id, int):
            self._lied(f"the latest version of {subject}", "has no version or no id")
        return RegisteredSchema(
            subject, found.version, found.schema_id, self._avro(found.schema, f"the latest version of {subject}")
        )

    def subjects_of(self, schema_id: int) -> tuple[str, ...]:
        """Subjects that an id is registered under. Raises SchemaNotFound."""
        found = self._ask(f"schema {schema_id}", lambda: self._client.get_subjects_by_schema_id(schema_id))
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            self._lied(f"the subjects of schema {schema_id}", "are no list of names")
        return tuple(found)

    def ping(self) -> None:
        """Return when a registry answers and lets these credentials read."""
        self._ask("subjects", lambda: self._client.get_subjects(limit=1))

    def _keep(self, schema_id: int, text: str) -> None:
        with self._lock:
            self._schemas[schema_id] = text
            while len(self._schemas) > self._capacity:
                self._schemas.popitem(last=False)

    def _bound_client_cache(self) -> None:
        """The client remembers every schema that it ever saw; forget them after as many calls as we keep schemas."""
        with self._lock:
            self._calls += 1
            if self._calls >= self._capacity:
                self._calls = 0
                self._client.clear_caches()

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except SchemaRegistryError as error:
            raise self._mapped(what, error) from None
        except Exception as error:  # noqa: BLE001  # httpx's, httpx2's or what parsing raises when it is no registry: all mapped, none lost
            why = self._without_secrets(f"{type(error).__name__}: {error}".removesuffix(": "))
            remedy = "check that it runs (thalweg stack status) and that THALWEG_REGISTRY__URL is right"
            if "SSL" in why or "CERTIFICATE" in why:
                remedy = (
                    "set THALWEG_REGISTRY__CA to the PEM file of the authority that signed the registry's certificate"
                )
            raise RegistryUnavailable(
                f"no schema registry answers at {', '.join(self._urls)} (asked for {what}, {self._retries + 1} times, "
                f"{self._timeout_s} s each): {why}",
                remedy,
            ) from None
        finally:
            self._bound_client_cache()

    def _mapped(self, what: str, error: SchemaRegistryError) -> Exception:
        where = ", ".join(self._urls)
        said = self._without_secrets(str(error.error_message))
        if error.http_status_code == 404 and error.error_code in _NOT_FOUND:
            return SchemaNotFound(f"the registry at {where} has no {what}: {said}", "register it, or mend the name")
        if error.http_status_code in (401, 403):
            return RegistryUnavailable(
                f"the registry at {where} refuses the credentials for {what}: HTTP {error.http_status_code}",
                "set THALWEG_REGISTRY__BASIC_AUTH=user:password or THALWEG_REGISTRY__BEARER_TOKEN, or ask for the right",
            )
        if error.http_status_code in (409, 422):
            return ConfigurationError(
                f"the registry at {where} refuses {what}: {said}",
                "change the schema so that it is compatible (a new field needs a default), or the subject's compatibility level",
            )
        return RegistryUnavailable(
            f"the registry at {where} answered HTTP {error.http_status_code} for {what}: {said}",
            "check that THALWEG_REGISTRY__URL is a registry's root (Apicurio: …/apis/ccompat/v7), and its log",
        )

    def _avro(self, found: Schema, what: str) -> str:
        if found.schema_type not in (None, "AVRO"):
            raise UnsupportedSchema(f"{what} is {found.schema_type}", "only Avro is read so far")
        if found.references:
            raise UnsupportedSchema(
                f"{what} refers to other schemas", "register one schema with everything in it; references are not read"
            )
        try:
            json.loads(found.schema_str)
        except (TypeError, ValueError):
            self._lied(what, "has no JSON text")
        return str(found.schema_str)

    def _no_schema(self, schema_id: int) -> SchemaNotFound:
        return SchemaNotFound(
            f"the registry at {', '.join(self._urls)} has no schema {schema_id}",
            "the producer may use another registry, or the record is no Confluent-framed Avro",
        )

    def _lied(self, what: str, why: str) -> NoReturn:
        raise RegistryUnavailable(
            f"what answers at {', '.join(self._urls)} is no schema registry: {what} {why}",
            "check THALWEG_REGISTRY__URL",
        )

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _Unknown:
    """Ids that the registry did not know a moment ago, so many at most; and a pace for asking after a burst of them."""

    def __init__(self, clock: Clock, capacity: int) -> None:
        self._clock = clock
        self._capacity = capacity
        self._until: OrderedDict[int, float] = OrderedDict()
        self._allowed, self._counted_at = float(_UNKNOWN_AT_ONCE), clock.monotonic_s()
        self._lock = threading.Lock()

    def known(self, schema_id: int) -> bool:
        with self._lock:
            return self._until.get(schema_id, 0.0) > self._clock.monotonic_s()

    def add(self, schema_id: int) -> None:
        with self._lock:
            self._until[schema_id] = self._clock.monotonic_s() + _UNKNOWN_FOR_S
            self._until.move_to_end(schema_id)
            while len(self._until) > self._capacity:
                self._until.popitem(last=False)
            self._refill()
            self._allowed -= 1

    def forget(self, schema_id: int) -> None:
        with self._lock:
            self._until.pop(schema_id, None)

    def wait_for_turn(self) -> None:
        """Return at once unless too many ids turned out unknown of late."""
        with self._lock:
            self._refill()
            missing = max(0.0, 1.0 - self._allowed)
        if missing:
            self._clock.sleep(missing / _UNKNOWN_PER_S)

    def _refill(self) -> None:
        now = self._clock.monotonic_s()
        self._allowed = min(_UNKNOWN_AT_ONCE, self._allowed + (now - self._counted_at) * _UNKNOWN_PER_S)
        self._counted_at = now


def _addresses(settings: RegistrySettings) -> tuple[tuple[str, ...], str | None]:
    """The URLs without the user and password that they may hold, and those."""
    if not settings.url:
        raise ConfigurationError(
            "no schema registry is set and no local stack runs",
            "thalweg stack up starts one, or set THALWEG_REGISTRY__URL=http://host:8081",
        )
    urls, logins = [], set()
    for text in re.split(r"\s*,\s*", settings.url.strip()):
        parts = urlsplit(text)
        login, _, place = parts.netloc.rpartition("@")
        if parts.scheme not in ("http", "https") or not place:
            raise ConfigurationError(
                "registry.url holds something that is no http:// or https:// URL", "write http://host:8081,…"
            )
        if login:
            logins.add(unquote(login))
        urls.append(urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", "")))
    if settings.basic_auth is not None:
        logins.add(settings.basic_auth.get_secret_value())
    if len(logins) > 1 or (logins and settings.bearer_token is not None):
        raise ConfigurationError(
            "the registry has more than one login: in its URLs, basic_auth or bearer_token", "set one of them"
        )
    return tuple(urls), next(iter(logins), None)


def _secrets(settings: RegistrySettings, login: str | None) -> list[str]:
    found = [login, login.partition(":")[2] if login else None]
    if settings.bearer_token is not None:
        found.append(settings.bearer_token.get_secret_value())
    return [secret for secret in found if secret]


def _configuration(settings: RegistrySettings, urls: tuple[str, ...], login: str | None) -> dict[str, Any]:
    """The client's own properties: https://docs.confluent.io/platform/current/clients/confluent-kafka-python/html/index.html."""
    found: dict[str, Any] = {
        "url": ",".join(urls),
        "timeout": settings.timeout_s,
        "max.retries": settings.retries,
        "retries.wait.ms": _FIRST_WAIT_MS,
        "retries.max.wait.ms": _LONGEST_WAIT_MS,
        "cache.capacity": settings.cached_schemas,
    }
    if login is not None:
        found["basic.auth.user.info"] = login
    if settings.bearer_token is not None:
        # The logical cluster is Confluent Cloud's; the client insists on one, and other registries ignore the header.
        found |= {
            "bearer.auth.credentials.source": "STATIC_TOKEN",
            "bearer.auth.token": settings.bearer_token.get_secret_value(),
            "bearer.auth.logical.cluster": "",
        }
    for name, file in (("ca", settings.ca), ("certificate", settings.certificate), ("key", settings.key)):
        if file is not None:
            found[f"ssl.{name}.location"] = str(file)
    return found
