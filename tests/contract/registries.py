"""The registries that the contract suite runs on: each entry yields the URL of one that is empty.

A further one (a real Apicurio, say) is a function here and a line in `REGISTRIES`.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from schemas.embedded.log import KafkaLog, Log, MemoryLog
from schemas.embedded.serve import make_server
from schemas.embedded.service import Service
from thalweg.settings import KafkaSettings
from thalweg.telemetry import listen

Target = Callable[[pytest.FixtureRequest], AbstractContextManager[str]]


@contextmanager
def running(log: Log) -> Iterator[str]:
    """Our server over this log, in a thread, on a free port of loopback."""
    opened = listen("127.0.0.1", 0)
    service = Service(log)
    server = make_server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, name="registry", daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        opened.close()
        service.close()
    assert not thread.is_alive()


@contextmanager
def embedded_in_memory(_: pytest.FixtureRequest) -> Iterator[str]:
    with running(MemoryLog()) as url:
        yield url


@contextmanager
def embedded_on_a_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    kafka = KafkaSettings(bootstrap=request.getfixturevalue("broker"))
    with running(KafkaLog(kafka, f"_schemas.{uuid.uuid4().hex[:10]}", writer=uuid.uuid4().hex)) as url:
        yield url


REGISTRIES = [
    pytest.param(embedded_in_memory, id="memory"),
    pytest.param(embedded_on_a_broker, id="broker", marks=pytest.mark.slow),
]
