"""Which broker and registry the stack takes, what `stack.json` says and when, and two commands at once."""

import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.stack_fakes import FakeDocker, fake_java, metadata
from thalweg.clock import ManualClock
from thalweg.errors import BrokerUnavailable, ConfigurationError, RegistryUnavailable, StackUnavailable
from thalweg.settings import KafkaSettings, RegistrySettings, Settings
from thalweg.stack import kafka as local_kafka
from thalweg.stack.lifecycle import Checks, Stack

REGISTRY = "http://registry.example:8081"


class Silent:
    """Hears what `up` is at, and remembers it."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, what: str) -> None:
        """Remember."""
        self.steps.append(what)

    def jars(self, done: int, total: int) -> None:
        """Nothing is downloaded here."""


class World:
    """A home folder, a Docker and the user's own services, to make stacks of."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.docker = FakeDocker(engine=False, answer=metadata(1))
        self.asked: list[str | None] = []
        self.down: set[str | None] = set()

    def stack(self, bootstrap: str | None = None, registry: str | None = REGISTRY) -> Stack:
        """Make a stack as a new command would: from settings that read the running stack's state first."""
        state = self.state() or {}
        settings = Settings(
            home=self.home,
            kafka=KafkaSettings(bootstrap=bootstrap or state.get("bootstrap")),
            registry=RegistrySettings(url=registry or state.get("registry")),
        )
        return Stack(settings, Checks(self._broker, self._registry), self.docker, ManualClock())

    def state(self) -> dict[str, str | None] | None:
        """Return what stack.json says."""
        file = self.home / "stack.json"
        return json.loads(file.read_text()) if file.exists() else None

    def _broker(self, kafka: KafkaSettings) -> None:
        self.asked.append(kafka.bootstrap)
        if kafka.bootstrap in self.down:
            raise BrokerUnavailable(f"nobody at {kafka.bootstrap}")

    def _registry(self, registry: RegistrySettings) -> None:
        self.asked.append(registry.url)
        if registry.url in self.down:
            raise RegistryUnavailable(f"nobody at {registry.url}")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world without an engine, and a stand-in for Java."""
    for name in ("BOOTSTRAP", "URL"):
        monkeypatch.delenv(f"THALWEG_KAFKA__{name}", raising=False)
    java = fake_java(tmp_path)
    monkeypatch.setattr(local_kafka, "class_path", lambda lock, cache, progress: [])
    monkeypatch.setattr(local_kafka, "find_java", lambda java_home: java)
    made = World(tmp_path / "home")
    yield made
    made.docker.engine = True
    made.stack().down()


def test_the_users_broker_comes_first_and_nothing_is_started(world: World) -> None:
    world.docker.engine = True

    status = world.stack("broker.example:9092").up(Silent())

    assert (status.broker.kind, status.broker.address) == ("given", "broker.example:9092")
    assert status.up
    assert world.docker.calls == []
    assert not (world.home / "kafka").exists()


def test_what_the_user_names_is_never_written_down_as_the_stacks_own(world: World) -> None:
    world.stack("broker.example:9092").up(Silent())
    assert world.state() in (None, {"bootstrap": None, "registry": None})

    assert world.stack("broker.example:9092").down() == []
    assert world.stack("broker.example:9092").status().up


def test_a_broker_that_the_user_names_must_answer(world: World) -> None:
    world.down.add("broker.example:9092")

    with pytest.raises(BrokerUnavailable):
        world.stack("broker.example:9092").up(Silent())
    assert not world.stack("broker.example:9092").status().up


def test_a_docker_engine_comes_next(world: World) -> None:
    world.docker.engine = True

    assert world.stack().up(Silent()).broker.kind == "docker"
    assert not (world.home / "kafka").exists()


def test_without_an_engine_the_broker_is_local(world: World) -> None:
    assert world.stack().up(Silent()).broker.kind == "local"


def test_a_folder_that_has_local_topics_stays_local_when_an_engine_appears(world: World) -> None:
    world.stack().up(Silent())
    world.stack().down()
    world.docker.engine = True

    assert world.stack().up(Silent()).broker.kind == "local"
    world.stack().down(wipe=True)
    assert world.stack().up(Silent()).broker.kind == "docker"


def test_a_folder_whose_topics_are_in_docker_does_not_go_on_without_them(world: World) -> None:
    world.docker.engine = True
    world.stack().up(Silent())
    world.stack().down()
    world.docker.engine = False

    with pytest.raises(StackUnavailable, match="Docker"):
        world.stack().up(Silent())


def test_the_state_file_says_where_the_own_broker_is_and_goes_with_it(world: World) -> None:
    status = world.stack().up(Silent())
    assert world.state() == {"bootstrap": status.broker.address, "registry": None}

    assert world.stack().down() == ["broker"]
    assert world.state() is None
    assert world.stack().status().broker.kind == "none"
    assert world.stack().down() == []


def test_up_again_changes_nothing(world: World) -> None:
    first = world.stack().up(Silent())
    written = (world.home / "stack.json").stat().st_mtime_ns
    listener = Silent()

    assert world.stack().up(listener) == first
    assert (world.home / "stack.json").stat().st_mtime_ns == written
    assert not any("Kafka" in step for step in listener.steps)


def test_the_state_of_a_crashed_stack_is_not_taken_for_the_users_broker(world: World) -> None:
    before = world.stack().up(Silent()).broker
    local_kafka.LocalKafka(world.home, world.home).kill()
    seen = world.stack().status().broker
    assert (seen.kind, seen.address, seen.answers) == ("local", before.address, False)

    after = world.stack().up(Silent()).broker
    assert (after.kind, after.address, after.answers) == ("local", before.address, True)


def test_nothing_is_written_down_and_the_broker_ended_when_the_registry_fails(world: World) -> None:
    world.down.add(REGISTRY)

    with pytest.raises(RegistryUnavailable):
        world.stack().up(Silent())
    assert world.state() is None
    assert local_kafka.LocalKafka(world.home, world.home).record is None


def test_a_broker_that_ran_before_outlives_a_later_failure(world: World) -> None:
    world.stack().up(Silent())
    world.down.add(REGISTRY)

    with pytest.raises(RegistryUnavailable):
        world.stack().up(Silent())
    assert local_kafka.LocalKafka(world.home, world.home).serves()


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_broken_state_file_is_no_obstacle(world: World, text: str) -> None:
    world.home.mkdir()
    stack = world.stack()
    (world.home / "stack.json").write_text(text)

    assert stack.up(Silent()).broker.answers
    assert world.state() is not None


def test_a_port_for_the_users_own_broker_is_refused(world: World) -> None:
    with pytest.raises(ConfigurationError, match="--port 9092"):
        world.stack("broker.example:9092").up(Silent(), port=9092)
    with pytest.raises(ConfigurationError, match="--registry-port 8081"):
        world.stack("broker.example:9092").up(Silent(), registry_port=8081)


def test_another_port_than_the_running_ones_is_refused(world: World) -> None:
    address = world.stack().up(Silent()).broker.address
    assert address is not None

    with pytest.raises(ConfigurationError, match=address):
        world.stack().up(Silent(), port=9)
    assert world.stack().up(Silent(), port=int(address.split(":")[1])).up


@pytest.mark.parametrize("command", [lambda stack: stack.up(Silent()), lambda stack: stack.down()])
def test_a_second_command_waits_for_the_first_and_not_for_ever(
    world: World, command: Callable[[Stack], object]
) -> None:
    world.home.mkdir()
    with (world.home / "stack.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StackUnavailable, match="another `thalweg stack`"):
            command(world.stack())
    command(world.stack())


def test_the_lock_is_not_handed_to_what_is_started(world: World) -> None:
    """A broker that held its starter's lock would block every later command."""
    world.stack().up(Silent())

    with (world.home / "stack.lock").open("w") as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_made_is_an_error_that_says_so(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    world.home = tmp_path / "file" / "home"

    with pytest.raises(StackUnavailable, match="cannot be written"):
        world.stack().up(Silent())
    world.home = tmp_path / "home"


def test_a_disk_that_refuses_is_an_error_that_says_what_to_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(lock: object, cache: Path, progress: object) -> list[Path]:
        raise OSError(28, "No space left on device", str(cache))

    monkeypatch.setattr(local_kafka, "class_path", full)

    with pytest.raises(StackUnavailable, match="No space left on device") as refused:
        world.stack().up(Silent())
    assert "THALWEG_STACK__CACHE" in refused.value.remedy


def test_a_wipe_removes_what_the_stack_keeps_and_nothing_else(world: World) -> None:
    world.stack().up(Silent())
    (world.home / "tables").mkdir()

    world.stack().down(wipe=True)

    assert sorted(path.name for path in world.home.iterdir()) == ["stack.lock", "tables"]
