// Draws the graph and moves the view over it. Nodes are buttons, so keyboards and screen readers get them for free.

import { arrange, simplify, sizeOf } from "./layout.js";
import { ago, brief, count, el, label, plural, svg, title } from "./words.js";

const GLYPHS = {
  topic: ["M4 6h11M4 12h11M4 18h11", "m17 9 3 3-3 3"],
  table: ["M4 5h16v14H4zM4 10h16M10 10v9"],
  quarantine: ["M12 3.5 20 7v5c0 4.5-3.2 7.6-8 8.7C7.2 19.600 4 16.500 4 12V7z", "M12 8.500v4.500M12 16.200v.1"],
  dataset: ["m12 3.500 8 4.300v8.400l-8 4.300-8-4.300V7.800z", "m4 7.800 8 4.400 8-4.400M12 12.200v8.300"],
  streaming: ["M3 9c3 0 3-2.500 6-2.500S12 9 15 9s3-2.500 6-2.500", "M3 16c3 0 3-2.500 6-2.500s3 2.500 6 2.500 3-2.500 6-2.500"],
  job: ["m8 5 11 7-11 7z"],
};
// A streaming job that ran this recently is drawn as flowing.
const FLOWING_MS = 90_000;
const LEAST_ZOOM = 0.2;
const MOST_ZOOM = 2;
// Below this, words on nodes are hard to read.
const READABLE = 0.66;

export class Graph {
  constructor(canvas, world, edges, nodes, choose) {
    Object.assign(this, { canvas, world, edgeLayer: edges, nodeLayer: nodes, choose });
    this.view = { x: 0, y: 0, k: 1 };
    this.moved = false;
    this.chosen = null;
    this.drawing = { places: new Map(), routes: [], width: 0, height: 0 };
    this.nodes = new Map();
    this.shape = "";
    this.versions = new Map();
    this.#listen();
  }

  // Draw what the API answered. Says whether other nodes are there than before.
  show(answer, nowMs) {
    const { nodes, edges } = simplify(answer.nodes, answer.edges);
    this.nodes = new Map(nodes.map((node) => [node.id, node]));
    const shape = JSON.stringify([nodes.map((node) => [node.id, sizeOf(node)[1]]), edges]);
    const isNew = shape !== this.shape;
    if (isNew) {
      this.shape = shape;
      this.drawing = arrange(nodes, edges);
    }
    this.#drawNodes(nodes, nowMs);
    this.#drawEdges(nowMs);
    this.highlight(this.chosen);
    if (isNew && !this.moved) this.fit();
    return isNew;
  }

  #drawNodes(nodes, nowMs) {
    const present = new Map([...this.nodeLayer.children].map((child) => [child.dataset.id, child]));
    for (const node of nodes) {
      const place = this.drawing.places.get(node.id);
      const button = present.get(node.id) ?? el("button", { type: "button", "data-id": node.id, on: { click: () => this.choose(node.id) } });
      present.delete(node.id);
      button.className = `node ${node.type === "job" ? "job" : node.kind}`;
      button.setAttribute("aria-label", spoken(node, nowMs));
      button.style.left = `${place.x}px`;
      button.style.top = `${place.y}px`;
      button.style.width = `${place.width}px`;
      button.style.height = `${place.height}px`;
      button.replaceChildren(...content(node, nowMs));
      const version = node.newest?.version;
      if (this.versions.has(node.id) && version !== this.versions.get(node.id)) button.classList.add("fresh");
      this.versions.set(node.id, version);
      this.nodeLayer.append(button);
    }
    for (const gone of present.values()) gone.remove();
  }

  #drawEdges(nowMs) {
    const paths = this.drawing.routes.flatMap((route) => {
      const job = [this.nodes.get(route.source), this.nodes.get(route.target)].find((node) => node?.type === "job");
      const flowing = job?.kind === "streaming" && job.last_run?.at && nowMs - Date.parse(job.last_run.at) < FLOWING_MS;
      const ends = { d: curve(route.points), "data-source": route.source, "data-target": route.target };
      return flowing ? [svg("path", { ...ends, class: "flowing" }), svg("path", { ...ends, class: "pulse" })] : [svg("path", ends)];
    });
    this.edgeLayer.replaceChildren(...paths);
  }

  // Mark a node, and dim what neither leads to it nor comes from it.
  highlight(id) {
    this.chosen = this.nodes.has(id) ? id : null;
    const near = this.chosen ? this.#related(this.chosen) : null;
    for (const button of this.nodeLayer.children) {
      button.setAttribute("aria-pressed", String(button.dataset.id === this.chosen));
      button.classList.toggle("far", near !== null && !near.has(button.dataset.id));
    }
    for (const path of this.edgeLayer.children) {
      const isNear = near !== null && near.has(path.dataset.source) && near.has(path.dataset.target);
      path.classList.toggle("near", isNear);
      path.classList.toggle("far", near !== null && !isNear);
    }
  }

  #related(id) {
    const found = new Set([id]);
    for (const [from, to] of [["source", "target"], ["target", "source"]]) {
      const waiting = [id];
      const seen = new Set(waiting);
      while (waiting.length) {
        const at = waiting.pop();
        for (const route of this.drawing.routes) {
          if (route[from] === at && !seen.has(route[to])) {
            seen.add(route[to]);
            found.add(route[to]);
            waiting.push(route[to]);
          }
        }
      }
    }
    return found;
  }

  // -- the view

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    const { width, height } = this.drawing;
    if (!width || !clientWidth) return;
    const k = Math.max(LEAST_ZOOM, Math.min(1.25, (clientWidth - 72) / width, (clientHeight - 110) / height));
    this.view = { k, x: (clientWidth - width * k) / 2, y: Math.max(30, (clientHeight - 24 - height * k) / 2) };
    this.moved = false;
    this.#apply();
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const k = Math.max(LEAST_ZOOM, Math.min(MOST_ZOOM, this.view.k * factor));
    this.view = { k, x: x - ((x - this.view.x) * k) / this.view.k, y: y - ((y - this.view.y) * k) / this.view.k };
    this.moved = true;
    this.#apply();
  }

  // Show a node and what belongs to it as large as fits, the node itself in any case.
  focus(id) {
    const places = [...this.#related(id)].map((near) => this.drawing.places.get(near)).filter(Boolean);
    if (!this.drawing.places.has(id)) return;
    const left = Math.min(...places.map((place) => place.x));
    const top = Math.min(...places.map((place) => place.y));
    const right = Math.max(...places.map((place) => place.x + place.width));
    const bottom = Math.max(...places.map((place) => place.y + place.height));
    const { clientWidth, clientHeight } = this.canvas;
    const k = Math.max(READABLE, Math.min(1.1, (clientWidth - 72) / (right - left), (clientHeight - 110) / (bottom - top)));
    const place = this.drawing.places.get(id);
    const along = (size, from, to, middle) => {
      if ((to - from) * k <= size - 72) return (size - (from + to) * k) / 2;
      return Math.max(size - 36 - to * k, Math.min(36 - from * k, size * 0.42 - middle * k));
    };
    this.view = { k, x: along(clientWidth, left, right, place.x + place.width / 2), y: along(clientHeight, top, bottom, place.y + place.height / 2) };
    this.#apply();
  }

  // Move a node into sight, if it is not.
  reveal(id) {
    const place = this.drawing.places.get(id);
    if (!place) return;
    const margin = 40;
    const left = this.view.x + place.x * this.view.k;
    const top = this.view.y + place.y * this.view.k;
    const right = left + place.width * this.view.k;
    const bottom = top + place.height * this.view.k;
    if (left < margin) this.view.x += margin - left;
    else if (right > this.canvas.clientWidth - margin) this.view.x -= right - this.canvas.clientWidth + margin;
    if (top < margin) this.view.y += margin - top;
    else if (bottom > this.canvas.clientHeight - margin) this.view.y -= bottom - this.canvas.clientHeight + margin;
    this.#apply();
  }

  #apply() {
    const { x, y, k } = this.view;
    this.world.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
    this.canvas.style.backgroundPosition = `${x}px ${y}px`;
  }

  #listen() {
    let drag = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest(".node, .zoom, .nothing")) return;
      drag = { x: event.clientX - this.view.x, y: event.clientY - this.view.y };
      this.canvas.setPointerCapture(event.pointerId);
      this.canvas.classList.add("dragging");
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!drag) return;
      this.view.x = event.clientX - drag.x;
      this.view.y = event.clientY - drag.y;
      this.moved = true;
      this.#apply();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => {
        drag = null;
        this.canvas.classList.remove("dragging");
      });
    }
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = this.canvas.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    this.nodeLayer.addEventListener("focusin", (event) => {
      const id = event.target.dataset?.id;
      if (id && event.target.matches(":focus-visible")) this.reveal(id);
    });
    this.nodeLayer.addEventListener("keydown", (event) => this.#step(event));
  }

  // Arrow keys follow the flow: right and left along edges, up and down within the column.
  #step(event) {
    const place = this.drawing.places.get(event.target.dataset?.id);
    if (!place) return;
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    const along = ([, other]) => (way[0] ? (other.x - place.x) * way[0] : (other.y - place.y) * way[1]);
    const aside = ([, other]) => (way[0] ? Math.abs(other.y - place.y) : Math.abs(other.x - place.x) * 4);
    const ahead = [...this.drawing.places].filter((each) => along(each) > 1);
    ahead.sort((a, b) => along(a) + aside(a) - along(b) - aside(b));
    if (ahead.length) this.nodeLayer.querySelector(`[data-id="${CSS.escape(ahead[0][0])}"]`)?.focus();
  }
}

// A smooth line through the points, level at each.
function curve(points) {
  const [[x0, y0], ...rest] = points;
  let path = `M${x0} ${y0}`;
  let [px, py] = [x0, y0];
  for (const [x, y] of rest) {
    const bend = Math.abs(x - px) / 2;
    const sign = x >= px ? 1 : -1;
    path += y === py ? `L${x} ${y}` : `C${px + sign * bend} ${py} ${x - sign * bend} ${y} ${x} ${y}`;
    [px, py] = [x, y];
  }
  return path;
}

function glyph(node) {
  const lines = GLYPHS[node.kind] ?? (node.type === "job" ? GLYPHS.job : GLYPHS.dataset);
  return el("span", { class: "glyph" }, svg("svg", { viewBox: "0 0 24 24" }, ...lines.map((d) => svg("path", { d }))));
}

function content(node, nowMs) {
  const name = el("span", { class: "title", text: title(node), title: node.id });
  const lines = facts(node, nowMs).map((words) => el("span", { class: "fact" }, ...words));
  const parts = [glyph(node), el("span", { class: "words" }, name, ...lines)];
  if (node.type === "dataset" && node.inner.length) parts.push(chips(node.inner));
  return parts;
}

function chips(inner) {
  const shown = [...inner].sort((a, b) => b.runs - a.runs).slice(0, 3);
  const words = shown.map((job) => `${job.name.split(".").pop().replaceAll("_", " ")} ×${brief(job.runs)}`);
  if (inner.length > shown.length) words.push(`+${inner.length - shown.length}`);
  return el("span", { class: "chips" }, ...words.map((text) => el("span", { class: "chip", text })));
}

function facts(node, nowMs) {
  const bold = (text) => el("b", { text });
  if (node.type === "job") {
    const failed = node.worker?.last_run?.state === "FAIL";
    const state = failed ? "FAIL" : (node.last_run?.state ?? "");
    const dot = el("span", { class: `state ${state}` });
    return [failed ? [dot, "worker failed"] : [dot, bold(brief(node.runs)), node.runs === 1 ? " run" : " runs"]];
  }
  const totals = node.totals;
  const newest = node.newest;
  if (node.kind === "topic") {
    if (!totals) return [["topic"]];
    return [[bold(brief(totals.offsets)), " offsets read"], [bold(count(totals.partitions)), totals.partitions === 1 ? " partition" : " partitions"]];
  }
  if (!newest) return [[node.kind === "dataset" ? "dataset" : "version unknown"]];
  const rows = totals ? totals.landed : node.rows_written;
  const version = ["version ", bold(newest.version), ` · ${ago(newest.made_at, nowMs)}`];
  if (node.kind === "quarantine") return [[bold(brief(node.rows_written ?? 0)), " rejected"], version];
  return rows === null ? [version] : [[bold(brief(rows)), " rows"], version];
}

function spoken(node, nowMs) {
  const kind = node.type === "job" ? `${node.kind} job` : node.kind;
  const more = facts(node, nowMs).map((words) => words.map((word) => (typeof word === "string" ? word : word.textContent)).join("")).join(", ");
  const inner = node.inner?.length ? `, tended by ${plural(node.inner.length, "job")}` : "";
  return `${kind} ${label(node)}: ${more}${inner}`;
}
