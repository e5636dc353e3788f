"""The lineage page in a real Chromium, on the real API and a real store."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn

from lineage.api import make_app
from lineage.store import Store
from tests.browser.browser import Browser
from tests.unit import lineage_story as told
from thalweg.telemetry import Metrics, listen

pytestmark = pytest.mark.slow

READY = "document.documentElement.dataset.state === 'ready'"


class Site:
    """The API and page on a port, which can be taken away and given back."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        opened = listen("127.0.0.1", self.port)
        self.port = opened.getsockname()[1]
        app = make_app(self.store, ready=lambda: True, host="127.0.0.1", metrics=Metrics())
        config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [opened]})
        self._thread.start()

    def stop(self) -> None:
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join()

    def land(self, version: int, first: int, end: int) -> None:
        """Something new arrives."""
        self.store.take(told.received(told.flights(told.landing(version, first, end))))


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Callable[[bytes], Site]]:
    made: list[Site] = []

    def make(content: bytes) -> Site:
        if content:
            (tmp_path / "lineage.db").write_bytes(content)
        made.append(Site(Store(f"sqlite:///{tmp_path}/lineage.db")))
        return made[-1]

    yield make
    for site in made:
        site.stop()
        site.store.close()


@pytest.fixture
def site(sites: Callable[[bytes], Site]) -> Site:
    return sites(told.database())


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as opened:
        yield opened
        assert opened.problems == []


def node(key: str) -> str:
    """Selector of a node on the page."""
    return f'.node[data-id="{key}"]'


def text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({json.dumps(selector)}).innerText"))


def show(browser: Browser, site: Site, key: str = "") -> None:
    browser.open(site.url + (f"#{quote(key, safe='')}" if key else ""))
    browser.wait(READY)


def test_the_graph_runs_from_the_topic_to_the_quarantine(browser: Browser, site: Site) -> None:
    show(browser, site)
    way = [told.TOPIC, told.LANDING, told.FLIGHTS, told.SETTLE, told.QUARANTINE]
    left = [browser.run(f"document.querySelector({json.dumps(node(key))}).getBoundingClientRect().x") for key in way]
    assert left == sorted(set(left))
    drawn = browser.run("[...document.querySelectorAll('#edges path')].map(p => [p.dataset.source, p.dataset.target])")
    assert all([here, there] in drawn for here, there in itertools.pairwise(way))
    assert "600 offsets read" in text(browser, node(told.TOPIC))
    assert "597 rows" in text(browser, node(told.FLIGHTS))
    assert "optimize ×1" in text(browser, node(told.FLIGHTS))
    assert "3 rejected" in text(browser, node(told.QUARANTINE))


def test_nodes_do_not_lie_on_each_other_and_fit_the_window(browser: Browser, site: Site) -> None:
    show(browser, site)
    boxes = browser.run(
        "[...document.querySelectorAll('.node')].map(n => { const b = n.getBoundingClientRect();"
        " return [b.left, b.top, b.right, b.bottom]; })"
    )
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0
        assert top >= 54
        assert right <= 1500
        assert bottom <= 900
        for other in boxes[number + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_click_shows_versions_with_rows_offsets_and_owner(browser: Browser, site: Site) -> None:
    show(browser, site)
    browser.click(node(told.FLIGHTS))
    browser.wait("document.querySelectorAll('#panel .versions details').length === 9")
    panel = text(browser, "#panel")
    assert "owned by ops" in panel
    assert "Departures" in panel
    browser.click("#panel .versions details:nth-of-type(3) summary")
    browser.wait("document.querySelector('#panel .version table')")
    version = text(browser, "#panel .versions details[open]")
    assert "+100 rows" in version
    assert "2013-01-02" in version
    cells = browser.run("[...document.querySelectorAll('.version tbody td')].map(c => c.innerText)")
    assert cells == ["flights", "0", "400", "500", "100", "0", "0"]


def test_a_version_tells_what_it_is_made_of_and_what_depends_on_it(browser: Browser, site: Site) -> None:
    show(browser, site, told.FLIGHTS)
    browser.click("#panel .versions details:nth-of-type(1) summary")
    browser.click("#panel .actions button:nth-of-type(1)")
    browser.wait("document.querySelector('.trace table')")
    assert browser.run("[...document.querySelectorAll('.trace tbody td')].map(c => c.innerText)") == [
        "flights",
        "0",
        "0",
        "600",
        "397",
        "3",
        "0",
    ]
    browser.click("#panel .versions details:nth-of-type(1) summary")
    browser.click("#panel .versions details:nth-of-type(8) summary")
    browser.click("#panel details:nth-of-type(8) .actions button:nth-of-type(2)")
    browser.wait("document.querySelector('details:nth-of-type(8) .trace .steps')")
    trace = text(browser, "details:nth-of-type(8) .trace")
    assert "versions 1–8" in trace
    assert "flights.quarantine" in trace
    assert "delays" in trace


def test_columns_tell_their_type_and_origin(browser: Browser, site: Site) -> None:
    show(browser, site, told.FLIGHTS)
    browser.click('#panel [data-key="tab Columns"]')
    rows = browser.run("[...document.querySelectorAll('.columns tbody tr')].map(r => r.innerText.split('\\t'))")
    assert rows == [
        ["date", "date", "from time_hour"],
        ["carrier", "string", "as sent"],
        ["_offset", "long", "the record itself"],
    ]


def test_a_record_is_found_by_its_offset(browser: Browser, site: Site) -> None:
    show(browser, site, told.TOPIC)
    browser.click('#panel input[data-key="offset"]')
    browser.type("450")
    browser.key("Enter")
    browser.wait("document.querySelector('.found').innerText")
    assert text(browser, ".found") == "It landed in version 6 of flights."


def test_what_is_new_appears_by_itself_and_keeps_what_is_open(browser: Browser, site: Site) -> None:
    show(browser, site, told.FLIGHTS)
    browser.click("#panel .versions details:nth-of-type(1) summary")
    browser.click("#panel .actions button:nth-of-type(1)")
    browser.wait("document.querySelector('.trace table')")
    site.land(9, 600, 725)
    browser.wait("document.querySelectorAll('#panel .versions details').length === 10")
    assert "722 rows" in text(browser, node(told.FLIGHTS))
    assert "fresh" in browser.run(f"document.querySelector({json.dumps(node(told.FLIGHTS))}).className")
    assert browser.run("document.querySelector('#panel details[open] summary .number').innerText") == "8"
    assert "600" in text(browser, "#panel details[open] .trace")
    assert browser.run("document.activeElement.dataset.key") == "trace 8 upstream"


def test_upstream_leaves_out_what_lies_downstream(browser: Browser, site: Site) -> None:
    show(browser, site, told.FLIGHTS)
    browser.click('#direction [data-direction="upstream"]')
    browser.wait(f"!document.querySelector({json.dumps(node(told.QUARANTINE))})")
    assert browser.run(f"!!document.querySelector({json.dumps(node(told.TOPIC))})")
    browser.click('#direction [data-direction="downstream"]')
    browser.wait(f"!document.querySelector({json.dumps(node(told.TOPIC))})")
    assert browser.run(f"!!document.querySelector({json.dumps(node(told.DELAYS))})")
    browser.click('#direction [data-direction="all"]')
    browser.wait(f"document.querySelector({json.dumps(node(told.TOPIC))})")


def test_the_keyboard_reaches_everything(browser: Browser, site: Site) -> None:
    show(browser, site)
    browser.run(f"document.querySelector({json.dumps(node(told.TOPIC))}).focus()")
    for expected in (told.LANDING, told.FLIGHTS):
        browser.key("ArrowRight")
        assert browser.run("document.activeElement.dataset.id") == expected
    browser.key("Enter")
    browser.wait("!document.querySelector('#panel').hidden")
    browser.key("Escape")
    browser.wait("document.querySelector('#panel').hidden")
    assert browser.run("document.activeElement.dataset.id") == told.FLIGHTS


def test_finding_a_node_by_name(browser: Browser, site: Site) -> None:
    show(browser, site)
    browser.click("#query")
    browser.type("flights.quar")
    browser.key("Enter")
    browser.wait("document.querySelector('#panel h2')")
    assert text(browser, "#panel h2") == "flights.quarantine"


def test_every_control_has_a_name_and_every_node_says_what_it_is(browser: Browser, site: Site) -> None:
    show(browser, site, told.TOPIC)
    browser.wait("document.querySelector('.record')")
    nameless = browser.run(
        "[...document.querySelectorAll('button, input, a')].filter(e => !(e.getAttribute('aria-label')"
        " || e.innerText || '').trim()).map(e => e.outerHTML)"
    )
    assert nameless == []
    spoken = browser.run(f"document.querySelector({json.dumps(node(told.FLIGHTS))}).getAttribute('aria-label')")
    assert spoken.startswith("table flights: 597 rows, version 8")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_its_ground(browser: Browser, site: Site, theme: str) -> None:
    """WCAG 2's contrast of 4.5 between text and what lies behind it, for every text on the page."""
    show(browser, site, told.FLIGHTS)
    browser.run(f"document.documentElement.dataset.theme = '{theme}'")
    browser.run("document.querySelector('#panel .versions summary').click()")
    browser.wait("document.querySelector('#panel .version table')")
    browser.run("document.querySelectorAll('*').forEach(e => e.style.transition = 'none')")
    assert browser.run(_CONTRAST) == []


_CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor);
    if (c[3] > 250) return c; } return rgba(getComputedStyle(document.body).backgroundColor); };
  const low = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest('.far, noscript, .skip, :disabled, datalist')) continue;
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push([walk.currentNode.data.trim(), e.className, ratio]);
  }
  return low;
})()"""


def test_names_are_text_and_never_markup(browser: Browser, site: Site) -> None:
    """Whoever may send an event chooses names; they must not run in a reader's browser."""
    evil = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'
    content: dict[str, Any] = json.loads(told.spark())
    content["run"]["runId"] = told.SPARK_RUN.replace("1", "9")
    content["job"]["name"] = content["outputs"][0]["name"] = evil
    error = {"_producer": "urn:x", "_schemaURL": "urn:x", "message": evil, "programmingLanguage": evil}
    content["run"]["facets"] = {"errorMessage": error}
    content["eventType"] = "FAIL"
    owner = {"_producer": "urn:x", "_schemaURL": "urn:x", "owners": [{"name": evil}]}
    schema = {"_producer": "urn:x", "_schemaURL": "urn:x", "fields": [{"name": evil, "type": evil}]}
    content["outputs"][0]["facets"] |= {"ownership": owner, "schema": schema}
    site.store.take(told.received([json.dumps(content).encode()]))
    show(browser, site, f"dataset:file/{evil}")
    browser.wait("document.querySelector('#panel .owner')")
    assert evil in text(browser, "#panel")
    browser.run(f"location.hash = '#' + encodeURIComponent({json.dumps(f'job:spark/{evil}')})")
    browser.wait("document.querySelector('#panel .alert')")
    assert browser.run("window.evil") is None


def test_nothing_is_loaded_from_elsewhere(browser: Browser, site: Site) -> None:
    show(browser, site, told.FLIGHTS)
    loaded = browser.run("performance.getEntriesByType('resource').map(e => e.name)")
    assert loaded
    assert all(name.startswith(site.url) for name in loaded)


def test_a_lost_connection_is_told_and_mends_itself(tmp_path: Path, site: Site) -> None:
    with Browser(tmp_path / "profile") as browser:  # its log of failed requests is what is meant here
        show(browser, site)
        site.stop()
        browser.wait("document.documentElement.dataset.state === 'lost'")
        assert "connection lost" in text(browser, "#live")
        assert browser.run("document.querySelectorAll('.node').length") > 5
        site.start()
        browser.wait(READY)


def test_an_empty_store_says_what_to_do(browser: Browser, sites: Callable[[bytes], Site]) -> None:
    site = sites(b"")
    show(browser, site)
    assert "No lineage yet" in text(browser, "#nothing")
    assert "thalweg announce" in text(browser, "#nothing")
    site.store.take(told.received(told.story()))
    browser.wait(f"document.querySelector({json.dumps(node(told.FLIGHTS))})")
    assert browser.run("document.querySelector('#nothing').hidden")


def test_a_narrow_window_shows_graph_and_details(tmp_path: Path, site: Site) -> None:
    with Browser(tmp_path / "profile", 390, 840) as browser:
        show(browser, site, told.FLIGHTS)
        browser.wait("document.querySelector('#panel .versions')")
        assert browser.run("document.documentElement.scrollWidth") <= 390
        box = browser.run(f"document.querySelector({json.dumps(node(told.FLIGHTS))}).getBoundingClientRect().toJSON()")
        assert box["left"] >= 0
        assert box["right"] <= 390
        assert browser.problems == []
