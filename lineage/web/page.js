// The page's life: asks the API, draws, follows the address's fragment, and asks again every two seconds.

import { Graph } from "./draw.js";
import { Panel } from "./panel.js";
import { ago, el, label } from "./words.js";

const REFRESH_MS = 2000;
const DEPTH = 50;
const $ = (id) => document.getElementById(id);

const tags = new Map(); // what was answered to a question, and the revision it was answered at
let chosen = null;
let direction = "all";
let known = new Map();
let answer = null;
let whole = null;
let newsMs = 0;

const graph = new Graph($("canvas"), $("world"), $("edges"), $("nodes"), (id) => go(id));
const panel = new Panel($("panel"), ask, (id) => go(id));

// Ask the API; a question whose answer has not changed costs a header. The same answer is the same object.
async function ask(path) {
  const before = tags.get(path);
  const response = await fetch(`api/v1/${path}`, { headers: before ? { "If-None-Match": before.etag } : {}, cache: "no-store" });
  if (response.status === 304) return before.content;
  const text = await response.text();
  const content = before?.text === text ? before.content : JSON.parse(text);
  if (!response.ok) throw new Error(`${content.error} — ${content.what_to_do}`);
  if (tags.size > 200) tags.clear();
  tags.set(path, { etag: response.headers.get("ETag"), text, content });
  return content;
}

function go(id) {
  if (id === chosen && id !== null) id = null;
  const fragment = id === null ? "" : `#${encodeURIComponent(id)}`;
  if (id === null) direction = "all";
  history.pushState(null, "", fragment || location.pathname);
  follow();
}

function follow() {
  const wanted = decodeURIComponent(location.hash.slice(1)) || null;
  chosen = wanted;
  graph.chosen = chosen;
  if (!chosen) panel.close();
  refresh();
}

async function refresh() {
  try {
    const everything = await ask("lineage");
    known = new Map(everything.nodes.map((node) => [node.id, node]));
    if (chosen && !known.has(chosen)) chosen = resolve(chosen);
    const part = direction !== "all" && chosen ? await ask(`lineage?${new URLSearchParams({ node: chosen, direction, depth: DEPTH })}`) : everything;
    if (whole && everything !== whole) newsMs = Date.now();
    whole = everything;
    answer = part;
    draw();
    await details();
    for (const time of document.querySelectorAll("time")) time.textContent = ago(time.dateTime, Date.now());
    live(true);
  } catch (error) {
    live(false, error instanceof TypeError ? "connection lost; trying again" : error.message);
  }
}

// Links may carry a short name: #flights.
function resolve(text) {
  for (const node of known.values()) if (label(node) === text && node.type === "dataset" && node.kind !== "topic") return node.id;
  for (const node of known.values()) if (label(node) === text) return node.id;
  return text;
}

function draw() {
  const isEmpty = answer.nodes.length === 0;
  $("nothing").hidden = !isEmpty;
  if (isEmpty) {
    $("nothing").replaceChildren(
      el("h2", { text: "No lineage yet" }),
      el("p", { text: "It appears here by itself as soon as the announcer has told the first version of a table." }),
      el("pre", { text: "thalweg ingest DATASET\nthalweg announce" }),
    );
  }
  graph.show(answer, Date.now());
  graph.highlight(chosen);
  const names = [...known.values()].map((node) => el("option", { value: label(node), text: node.type === "job" ? "job" : node.kind }));
  if ($("names").children.length !== names.length) $("names").replaceChildren(...names);
  for (const button of $("direction").children) {
    button.setAttribute("aria-pressed", String(button.dataset.direction === direction));
    button.disabled = button.dataset.direction !== "all" && !chosen;
  }
}

async function details() {
  const node = chosen && known.get(chosen);
  if (!node) {
    if (panel.isOpen) panel.close();
    return;
  }
  const before = panel.isOpen ? panel.id : null;
  await panel.show(node, known, graph.nodes.get(node.id)?.worker);
  if (before === null) graph.focus(node.id);
  else if (before !== node.id) graph.reveal(node.id);
}

function live(isUp, fault = "") {
  $("live").classList.toggle("lost", !isUp);
  const text = isUp ? (newsMs ? `live · changed ${ago(new Date(newsMs).toISOString(), Date.now())}` : "live") : fault;
  const shown = $("live").querySelector(".text");
  if (shown.textContent !== text) shown.textContent = text;
  document.documentElement.dataset.state = isUp ? "ready" : "lost";
}

// -- controls

$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("query").value.trim().toLowerCase();
  if (!text) return;
  const nodes = [...known.values()].sort((a, b) => (a.type === "job") - (b.type === "job"));
  const name = (node) => label(node).toLowerCase();
  const tests = [(node) => name(node) === text, (node) => name(node).startsWith(text), (node) => node.id.toLowerCase().includes(text)];
  const found = tests.map((test) => nodes.find(test)).find(Boolean);
  $("query").setCustomValidity(found ? "" : "nothing is called so");
  if (!found) return $("query").reportValidity();
  $("query").value = "";
  if (found.id !== chosen) go(found.id);
  graph.reveal(found.id);
});
$("query").addEventListener("input", () => {
  $("query").setCustomValidity("");
  const exact = [...known.values()].filter((node) => label(node) === $("query").value);
  if (exact.length === 1 && [...$("names").children].some((option) => option.value === $("query").value) && exact[0].id !== chosen) {
    $("query").value = "";
    go(exact[0].id);
  }
});
$("direction").addEventListener("click", (event) => {
  const wanted = event.target.dataset.direction;
  if (!wanted || event.target.disabled) return;
  direction = wanted;
  graph.moved = false;
  refresh();
});
$("zoom-in").addEventListener("click", () => graph.zoom(1.25));
$("zoom-out").addEventListener("click", () => graph.zoom(0.8));
$("zoom-fit").addEventListener("click", () => graph.fit());
addEventListener("resize", () => graph.moved || graph.fit());
addEventListener("hashchange", follow);
addEventListener("popstate", follow);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen) {
    const id = chosen;
    go(null);
    document.querySelector(`[data-id="${CSS.escape(id)}"]`)?.focus();
  }
  if (event.key === "/" && !event.target.closest("input, textarea")) {
    event.preventDefault();
    $("query").focus();
  }
});

const dark = matchMedia("(prefers-color-scheme: dark)");
function theme() {
  const wanted = localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = wanted;
  $("theme").textContent = wanted === "dark" ? "☀" : "☾";
}
$("theme").addEventListener("click", () => {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  theme();
});
dark.addEventListener("change", theme);
theme();

follow();
setInterval(() => document.hidden || refresh(), REFRESH_MS);
