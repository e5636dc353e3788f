"""Up, down and status of the local stack: one broker and one registry, found before they are started.

The broker is, in this order: the one that the user names; the one this folder has already run; one in Docker, if an
engine answers; a Kafka on this machine's own Java. The registry is the one that the user names, or the embedded one.
`<home>/stack.json` tells the settings where the stack's own parts are. It is there only while they are.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

from thalweg.clock import Clock, SystemClock
from thalweg.errors import ConfigurationError, StackUnavailable, ThalwegError
from thalweg.settings import KafkaSettings, RegistrySettings, Settings
from thalweg.stack.docker import Docker, DockerKafka
from thalweg.stack.jars import Progress
from thalweg.stack.kafka import LocalKafka
from thalweg.stack.processes import write_whole
from thalweg.stack.registry import LocalRegistry

_Section = TypeVar("_Section", KafkaSettings, RegistrySettings)

LOCK_TIMEOUT_S = 600.0  # a first start on a slow line downloads for minutes
LOCK_POLL_S = 0.1


class Broker(Protocol):
    """A broker that the stack may start and stop."""

    kind: str

    @property
    def bootstrap(self) -> str | None:
        """`host:port`, or None where it was never started."""
        ...

    def serves(self) -> bool:
        """Tell whether it answers."""
        ...

    def holds_state(self) -> bool:
        """Tell whether this folder's topics are there."""
        ...

    def details(self) -> dict[str, Any]:
        """Return what `status` shows beside the address."""
        ...

    def start(self, progress: Progress = ...) -> str:
        """Start it unless it serves, and return its bootstrap server."""
        ...

    def stop(self) -> bool:
        """Stop it. Returns whether it ran."""
        ...

    def wipe(self) -> None:
        """Remove its topics."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """The broker or the registry, as `status` sees it.

    `kind` is "given" for the user's own, "docker", "local" or "embedded" for what the stack runs, "none" where there is none.
    """

    kind: str
    address: str | None
    answers: bool
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """What runs."""

    home: str
    broker: Part
    registry: Part

    @property
    def up(self) -> bool:
        """Whether both parts answer."""
        return self.broker.answers and self.registry.answers

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"up": self.up, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Checks:
    """How to ask brokers and registries that the user names: with their credentials, by the clients of other rooms.

    Each returns if there is an answer and raises a ThalwegError if there is none.
    """

    broker: Callable[[KafkaSettings], object]
    registry: Callable[[RegistrySettings], object]


class Listener(Protocol):
    """Hears what `up` is at."""

    def step(self, what: str) -> None:
        """Hear that something begins."""
        ...

    def jars(self, done: int, total: int) -> None:
        """Hear that a jar has come in."""
        ...


class Stack:
    """The stack of one home folder."""

    def __init__(
        self, settings: Settings, checks: Checks, docker: Docker | None = None, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._checks = checks
        self._docker = docker
        self._clock = clock or SystemClock()
        self._home = settings.home.absolute()
        self._state_file = self._home / "stack.json"
        own = self._state()
        # What the settings found in stack.json is the stack's own; what differs from it, the user has named.
        self._given_bootstrap = _unless(settings.kafka.bootstrap, own.get("bootstrap"))
        self._given_registry = _unless(settings.registry.url, own.get("registry"))

    def up(self, listener: Listener, port: int | None = None, registry_port: int | None = None) -> Status:
        """Start what does not run, and return when all answers. What answers already is left alone.

        Raises BrokerUnavailable, RegistryUnavailable, PortTaken, StackUnavailable, ConfigurationError.
        """
        # What it started, a start that fails or is interrupted ends again.
        with self._alone(), _writing(), ExitStack() as started:
            bootstrap = self._broker_up(listener, port, started)
            url = self._registry_up(listener, bootstrap, registry_port, started)
            own = {
                "bootstrap": _unless(bootstrap, self._given_bootstrap),
                "registry": _unless(url, self._given_registry),
            }
            if own != self._state():
                write_whole(self._state_file, json.dumps(own, indent=1) + "\n")
            started.pop_all()
        return self.status()

    def down(self, wipe: bool = False) -> list[str]:
        """Stop what the stack has started, and return its parts that ran. `wipe` removes topics, schemas and logs too."""
        with self._alone():
            self._state_file.unlink(missing_ok=True)
            ended = ["registry"] if self._registry(None).stop() else []
            for broker in self._brokers(None):
                if broker.stop():
                    ended.append("broker")
                if wipe:
                    broker.wipe()
            if wipe:
                for folder in ("registry", "logs", "run"):
                    shutil.rmtree(self._home / folder, ignore_errors=True)
        return ended

    def status(self) -> Status:
        """Return what runs and answers. Starts nothing."""
        return Status(str(self._home), self._broker_part(), self._registry_part())

    def _broker_up(self, listener: Listener, port: int | None, started: ExitStack) -> str:
        if self._given_bootstrap:
            _refuse_port("--port", port, "broker", self._given_bootstrap)
            listener.step(f"asking the broker at {self._given_bootstrap}")
            self._checks.broker(self._settings.kafka)
            return self._given_bootstrap
        broker = self._choose(port)
        if broker.serves() and broker.bootstrap:
            _refuse_other_port("--port", port, broker.bootstrap)
            return broker.bootstrap
        self._state_file.unlink(missing_ok=True)
        listener.step("starting Kafka" + (" in Docker" if broker.kind == DockerKafka.kind else ""))
        started.callback(broker.stop)
        return broker.start(listener.jars)

    def _registry_up(self, listener: Listener, bootstrap: str, port: int | None, started: ExitStack) -> str:
        if self._given_registry:
            _refuse_port("--registry-port", port, "registry", self._given_registry)
            listener.step(f"asking the registry at {self._given_registry}")
            self._checks.registry(self._settings.registry)
            return self._given_registry
        registry = self._registry(bootstrap, port)
        if registry.serves() and registry.url:
            _refuse_other_port("--registry-port", port, registry.url)
            return registry.url
        self._state_file.unlink(missing_ok=True)
        listener.step("starting the schema registry")
        started.callback(registry.stop)
        return registry.start()

    def _choose(self, port: int | None) -> Broker:
        """Return the broker that has this folder's topics; else one in Docker, if an engine answers; else a local one."""
        docker, local = self._brokers(port)
        for broker in (docker, local):
            if broker.holds_state():
                return broker
        return docker if docker.available() else local

    def _brokers(self, port: int | None) -> tuple[DockerKafka, LocalKafka]:
        stack = self._settings.stack
        return (
            DockerKafka(self._home, port, self._docker),
            LocalKafka(self._home, stack.cache, stack.java_home, port),
        )

    def _registry(self, bootstrap: str | None, port: int | None = None) -> LocalRegistry:
        return LocalRegistry(self._home, bootstrap or "", port)

    def _broker_part(self) -> Part:
        if self._given_bootstrap:
            return Part("given", self._given_bootstrap, _answers(self._checks.broker, self._settings.kafka))
        for broker in self._brokers(None):
            # After a crash nothing runs, yet stack.json still says where it ran: it is missing, not just absent.
            address = broker.bootstrap or self._state().get("bootstrap")
            if broker.holds_state() and address:
                return Part(broker.kind, address, broker.serves(), broker.details())
        return Part("none", None, answers=False)

    def _registry_part(self) -> Part:
        if self._given_registry:
            return Part("given", self._given_registry, _answers(self._checks.registry, self._settings.registry))
        registry = self._registry(None)
        address = registry.url or self._state().get("registry")
        if address is None:
            return Part("none", None, answers=False)
        record = registry.record
        return Part("embedded", address, registry.answers(), {} if record is None else {"pid": record.pid})

    def _state(self) -> dict[str, str | None]:
        try:
            state = json.loads(self._state_file.read_text())
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return {}
        return state if isinstance(state, dict) else {}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock: of two commands at once the second waits. The kernel lets go of it when a holder dies."""
        path = self._home / "stack.lock"
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            file = path.open("w")
        except OSError as error:
            raise StackUnavailable(
                f"the folder {self._home} cannot be written: {error}", "THALWEG_HOME names another one"
            ) from error
        with file:
            deadline = self._clock.monotonic_s() + LOCK_TIMEOUT_S
            while not _locked(file.fileno()):
                if self._clock.monotonic_s() > deadline:
                    raise StackUnavailable(
                        f"another `thalweg stack` holds {path} for {LOCK_TIMEOUT_S:.0f} s", "end it, then try again"
                    )
                self._clock.sleep(LOCK_POLL_S)
            yield


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StackUnavailable(
            f"the stack cannot write or run what it needs: {error}",
            "is there space, and may you write there? THALWEG_HOME and THALWEG_STACK__CACHE name other folders",
        ) from error


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unless(value: str | None, other: str | None) -> str | None:
    return None if value == other else value


def _answers(check: Callable[[_Section], object], settings: _Section) -> bool:
    try:
        check(settings)
    except ThalwegError:
        return False
    return True


def _refuse_port(option: str, port: int | None, what: str, given: str) -> None:
    if port is not None:
        raise ConfigurationError(
            f"{option} {port}: the {what} is the one you name, {given}; the stack starts none", f"leave {option} out"
        )


def _refuse_other_port(option: str, port: int | None, address: str) -> None:
    if port is not None and not address.endswith(f":{port}"):
        raise ConfigurationError(
            f"{option} {port}: it runs already, at {address}", "thalweg stack down, then up with that port"
        )
