// Details of the chosen node: versions with rows and offsets, columns, where a version came from and what depends on it.

import { ago, bytes, count, dates, el, label, labelOfId, moment, plural, svg } from "./words.js";

const PAGE = 25;
const BARS = 60;

export class Panel {
  constructor(element, ask, choose) {
    Object.assign(this, { element, ask, choose });
    this.id = null;
    this.tab = null;
    this.opened = new Set(); // versions that are unfolded
    this.traces = new Map(); // version -> what was asked about it, and the answer
    this.record = { partition: "0", offset: "", holders: null };
    this.wanted = PAGE;
    this.turn = 0;
    this.shown = [];
  }

  get isOpen() {
    return !this.element.hidden;
  }

  close() {
    this.id = null;
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  // Show a node, or show it again with what is new.
  async show(node, known, worker) {
    if (node.id !== this.id) {
      Object.assign(this, { id: node.id, tab: null, wanted: PAGE, shown: [], record: { partition: "0", offset: "", holders: null } });
      this.opened.clear();
      this.traces.clear();
    }
    const turn = ++this.turn;
    const answers = node.type === "job" ? [JSON.stringify(worker), await this.#askJob(node)] : await this.#askDataset(node);
    if (turn !== this.turn || node.id !== this.id) return; // another node was chosen meanwhile
    if (this.shown.length && answers.every((answer, place) => answer === this.shown[place])) return; // nothing new
    this.shown = answers;
    const parts = node.type === "job" ? this.#job(node, answers[1], known, worker) : this.#dataset(answers[0], answers[1], known);
    this.#replace(parts);
  }

  // Put new contents in, and leave the eye and the keyboard where they were.
  #replace(parts) {
    const top = this.element.scrollTop;
    const focused = this.element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.element.replaceChildren(...parts);
    this.element.hidden = false;
    this.element.scrollTop = top;
    if (focused) this.element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  #head(node, kind) {
    const close = el("button", { type: "button", class: "icon close", "data-key": "close", "aria-label": "Close details", text: "×", on: { click: () => this.choose(null) } });
    return el(
      "header",
      { class: `head ${node.type === "job" ? "job" : node.kind}` },
      el("span", { class: "badge", text: kind }),
      el("h2", { text: label(node) }),
      close,
      el("p", { class: "id" }, el("code", { text: node.id }), copyButton(node.id)),
    );
  }

  // Ask, and put what `draw` makes of the answer into `place`, or what went wrong.
  async #tell(place, path, draw) {
    try {
      place.replaceChildren(...draw(await this.ask(path)));
    } catch (error) {
      place.replaceChildren(el("p", { class: "wrong", text: error.message }));
    }
  }

  // -- datasets

  #askDataset(node) {
    const path = `datasets/${encodeURIComponent(node.namespace)}/${encodeURIComponent(node.name)}`;
    const versions = node.kind === "topic" ? null : this.ask(`${path}/versions?limit=${Math.max(this.wanted, BARS)}`);
    return Promise.all([this.ask(path), versions]);
  }

  #dataset(told, history, known) {
    const tabs = { Versions: () => this.#versions(told, history, known), Columns: () => columns(told), Offsets: () => this.#offsets(told, known), Jobs: () => this.#jobs(told, known) };
    if (!history?.versions.length) delete tabs.Versions;
    if (!told.columns.length) delete tabs.Columns;
    if (!told.offsets.length) delete tabs.Offsets;
    return [this.#head(told, told.kind), about(told), tiles(told), ...this.#tabs(tabs)];
  }

  #tabs(tabs) {
    const names = Object.keys(tabs);
    if (!names.includes(this.tab)) this.tab = names[0];
    const body = el("div", { class: "body", role: "tabpanel", "aria-label": this.tab }, tabs[this.tab]());
    const list = el("div", { class: "tabs", role: "tablist", "aria-label": "Details" });
    const turn = (name) => {
      this.tab = name;
      body.setAttribute("aria-label", name);
      body.replaceChildren(tabs[name]());
      for (const button of list.children) {
        button.setAttribute("aria-selected", String(button.textContent === name));
        button.tabIndex = button.textContent === name ? 0 : -1;
      }
    };
    for (const name of names) {
      const button = el("button", { type: "button", role: "tab", "data-key": `tab ${name}`, "aria-selected": String(name === this.tab), tabindex: name === this.tab ? "0" : "-1", text: name, on: { click: () => turn(name) } });
      list.append(button);
    }
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = names[(names.indexOf(this.tab) + step + names.length) % names.length];
      turn(next);
      [...list.children].find((button) => button.textContent === next).focus();
    });
    return [list, body];
  }

  #versions(told, history, known) {
    const rows = history.versions.slice(0, this.wanted).map((version) => this.#version(told, version, known));
    const box = el("div", { class: "versions" }, bars(history.versions.slice(0, BARS)), ...rows);
    if (history.versions.length > this.wanted || history.next !== null) {
      const more = () => {
        this.wanted = Math.min(this.wanted + PAGE * 2, 1000);
        this.shown = [];
        this.show(told, known);
      };
      box.append(el("button", { type: "button", class: "plain wide", text: "Show older versions", on: { click: more } }));
    }
    return box;
  }

  #version(told, version, known) {
    const rejected = version.spans.reduce((sum, span) => sum + span.quarantined, 0);
    const summary = el(
      "summary",
      {},
      el("span", { class: "number", text: version.version }),
      el("span", { class: "what" }, el("b", { text: changeOf(version) }), el("small", { text: version.dates.length ? dates(version.dates) : (version.operation ?? "").toLowerCase() })),
      rejected ? el("span", { class: "chip rejected", text: `${count(rejected)} rejected` }) : null,
      el("time", { datetime: version.made_at, title: moment(version.made_at), text: ago(version.made_at, Date.now()) }),
    );
    summary.dataset.key = `version ${version.version}`;
    const box = el("details", {}, summary);
    box.addEventListener("toggle", () => {
      this.opened[box.open ? "add" : "delete"](version.version);
      if (box.open && box.children.length === 1) box.append(this.#versionBody(told, version, known));
    });
    if (this.opened.has(version.version)) {
      box.append(this.#versionBody(told, version, known));
      box.open = true;
    }
    return box;
  }

  #versionBody(told, version, known) {
    const facts = [
      ["Made", moment(version.made_at)],
      ["By", version.operation ?? "–"],
      ["Files", `+${count(version.files_added ?? 0)} (${bytes(version.bytes_added)})  −${count(version.files_removed ?? 0)}`],
      ["Builds on", version.based_on === null ? "nothing before" : `version ${version.based_on}`],
    ];
    const answer = el("div", { class: "trace", "aria-live": "polite" });
    const asked = this.traces.get(version.version);
    if (asked) answer.append(this.#answered(asked, known));
    const ask = (direction, text) => {
      const trace = async (event) => {
        for (const button of event.target.parentElement.children) button.setAttribute("aria-pressed", String(button === event.target));
        answer.replaceChildren(el("p", { class: "faint", text: "asking…" }));
        const query = new URLSearchParams({ node: told.id, version: version.version, direction });
        await this.#tell(answer, `lineage?${query}`, (found) => {
          this.traces.set(version.version, found);
          return [this.#answered(found, known)];
        });
      };
      const key = `trace ${version.version} ${direction}`;
      return el("button", { type: "button", "data-key": key, "aria-pressed": String(asked?.direction === direction), text, on: { click: trace } });
    };
    return el(
      "div",
      { class: "version" },
      definitions(facts),
      version.spans.length ? el("div", { class: "scroll" }, offsetTable(version.spans)) : null,
      version.number === null ? null : el(
        "div",
        { class: "actions", role: "group", "aria-label": `Lineage of version ${version.version}` },
        ask("upstream", "What is it made of?"),
        ask("downstream", "What depends on it?"),
      ),
      answer,
    );
  }

  #answered(found, known) {
    return found.direction === "upstream" ? this.#madeFrom(found, known) : this.#neededBy(found, known);
  }

  #madeFrom(found, known) {
    const box = el("div", {});
    if (found.offsets.length) {
      box.append(el("h4", { text: `All rows of version ${found.version} come from` }), el("div", { class: "scroll" }, offsetTable(found.offsets)));
    }
    box.append(this.#steps(found.steps, known, "from"));
    return box;
  }

  #neededBy(found, known) {
    const kept = found.kept_in.map(({ first, last }) => (first === last ? `${first}` : `${first}–${last}`)).join(", ");
    const box = el("div", {}, el("p", { text: `Its rows are in ${found.kept_in.length === 1 && found.kept_in[0].first === found.kept_in[0].last ? "version" : "versions"} ${kept} of this table.` }));
    box.append(found.steps.length ? this.#steps(found.steps, known, "into") : el("p", { class: "faint", text: "No other dataset was made from them." }));
    return box;
  }

  #steps(steps, known, word) {
    const list = el("ul", { class: "steps" });
    for (const step of steps) {
      const other = step.other ? [word === "from" ? " from " : " into ", this.#link(step.other, known)] : [];
      const range = step.other_versions ? [` at ${spread(step.other_versions)}`] : [];
      const item = el("li", {}, el("b", { text: `${count(step.runs)} × ` }), this.#link(step.job, known), ...other, ...range);
      if (step.trace) {
        if (step.trace.offsets?.length) item.append(el("div", { class: "scroll" }, offsetTable(step.trace.offsets)));
        item.append(this.#steps(step.trace.steps, known, word));
      }
      list.append(item);
    }
    return list;
  }

  #offsets(told, known) {
    const isTopic = told.kind === "topic";
    const table = el(
      "table",
      {},
      headings(isTopic ? ["#Part", "#First", "#Next", "#Landed", "#Rejected", "#Filtered", "Table"] : ["Topic", "#Part", "#First", "#Next", "#Landed", "#Rejected", "#Filtered"]),
      el("tbody", {}, ...told.offsets.map((each) => {
        const counts = [each.first, each.next, each.landed, each.quarantined, each.filtered].map((number) => el("td", { class: "number", text: count(number) }));
        const partition = el("td", { class: "number", text: each.partition });
        return isTopic
          ? el("tr", {}, partition, ...counts, el("td", {}, this.#link(each.into, known)))
          : el("tr", {}, el("td", {}, this.#link(each.node, known)), partition, ...counts);
      })),
    );
    const box = el("div", {}, el("div", { class: "scroll" }, table));
    if (isTopic) box.prepend(this.#recordForm(told, known));
    return box;
  }

  #recordForm(told, known) {
    const keep = (name) => (event) => (this.record[name] = event.target.value);
    const input = (name, more) => el("input", { type: "number", min: "0", required: true, value: this.record[name], "data-key": name, "aria-label": name, on: { input: keep(name) }, ...more });
    const answer = el("p", { class: "found", role: "status" });
    const sentences = (holders) => (holders.length ? holders.flatMap((holder) => this.#holder(holder, known)) : ["No version holds it: it was not read yet, or never given to a reader."]);
    const find = (event) => {
      event.preventDefault();
      const query = new URLSearchParams({ topic: told.id, partition: this.record.partition, offset: this.record.offset });
      this.#tell(answer, `offsets?${query}`, ({ holders }) => {
        this.record.holders = holders;
        return sentences(holders);
      });
    };
    if (this.record.holders) answer.replaceChildren(...sentences(this.record.holders));
    return el(
      "form",
      { class: "record", on: { submit: find } },
      el("span", { text: "Where is record" }),
      input("partition", {}),
      el("span", { text: "@" }),
      input("offset", { placeholder: "offset" }),
      el("button", { type: "submit", class: "primary", "data-key": "find", text: "Find" }),
      answer,
    );
  }

  #holder(holder, known) {
    const verdicts = { landed: "landed in", quarantined: "was rejected by", filtered: "was filtered out by", mixed: "was read by" };
    const rest = holder.verdict === "mixed" ? `, which landed ${count(holder.span.landed)} and rejected ${count(holder.span.quarantined)} of its records` : "";
    return [`It ${verdicts[holder.verdict]} version ${holder.version} of `, this.#link(holder.node, known), `${rest}. `];
  }

  #jobs(told, known) {
    const part = (title, ids) => (ids.length ? [el("h4", { text: title }), el("ul", { class: "links" }, ...ids.map((id) => el("li", {}, this.#link(id, known))))] : []);
    return el("div", {}, ...part("Written by", told.written_by), ...part("Read by", told.read_by));
  }

  // -- jobs

  #askJob(node) {
    return node.last_run ? this.ask(`runs/${node.last_run.run_id}`) : null;
  }

  #job(node, run, known, worker) {
    const parts = [this.#head(node, `${node.kind} job`)];
    if (worker?.last_run?.error) parts.push(el("p", { class: "alert", role: "alert" }, el("b", { text: "The worker failed. " }), worker.last_run.error));
    if (run?.error) parts.push(el("p", { class: "alert", role: "alert" }, el("b", { text: "The newest run failed. " }), run.error));
    parts.push(tileRow([["runs", count(node.runs)], ["newest run", run?.state ? run.state.toLowerCase() : "–"], ["when", ago(node.last_run?.at, Date.now())]]));
    if (!run) return parts;
    const sides = (title, list) => (list.length ? [el("h4", { text: title }), el("ul", { class: "links" }, ...list.map((each) => el("li", {}, this.#link(each.node, known), each.version === null ? "" : ` at version ${each.version}`)))] : []);
    const facts = [["Engine", run.engine ?? "–"], ["Started", moment(run.started_at)], ["Ended", moment(run.ended_at)], ["Told by", node.integration ?? "–"]];
    parts.push(el("div", { class: "body" }, el("h3", { text: "Newest run" }), el("p", { class: "id" }, el("code", { text: run.run_id }), copyButton(run.run_id)), definitions(facts), ...sides("Read", run.inputs), ...sides("Wrote", run.outputs)));
    return parts;
  }

  #link(id, known) {
    const target = known.get(id);
    if (!target) return el("span", { text: labelOfId(id, known), title: id });
    return el("a", { href: `#${encodeURIComponent(id)}`, title: id, text: label(target) });
  }
}

// -- pieces

const spread = ({ first, last }) => (first === last ? `version ${first}` : `versions ${first}–${last}`);

function changeOf(version) {
  if (version.data_change === false) return version.files_added ? "same rows, new files" : "no rows";
  if (version.rows_added) return `+${plural(version.rows_added, "row")}`;
  return version.files_removed ? "rows removed" : "no rows";
}

function about(told) {
  const lines = [];
  if (told.description) lines.push(el("p", { text: told.description }));
  if (told.owner) lines.push(el("p", { class: "owner" }, "owned by ", el("b", { text: told.owner })));
  return el("div", { class: "about" }, ...lines);
}

function tiles(told) {
  const totals = told.totals;
  if (told.kind === "topic") return totals ? tileRow([["partitions", count(totals.partitions)], ["offsets read", count(totals.offsets)], ["rejected", count(totals.quarantined), totals.quarantined > 0]]) : "";
  const list = [["version", told.newest?.version ?? "–"]];
  if (totals) list.push(["rows landed", count(totals.landed)], ["rejected", count(totals.quarantined), totals.quarantined > 0]);
  else list.push([told.kind === "quarantine" ? "rejected" : "rows written", count(told.rows_written)], ["versions", count(told.versions)]);
  return tileRow(list);
}

const tileRow = (list) => el("dl", { class: "tiles" }, ...list.map(([name, value, warn]) => el("div", { class: warn ? "warn" : null }, el("dt", { text: name }), el("dd", { text: value }))));

const definitions = (facts) => el("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));

// A heading that begins with # stands over numbers.
const headings = (names) => el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col", class: name[0] === "#" ? "number" : null, text: name.replace(/^#/, "") }))));

function offsetTable(offsets) {
  const numbers = (each) => [each.partition, each.first, each.next, each.landed, each.quarantined, each.filtered].map((number) => el("td", { class: "number", text: count(number) }));
  const rows = offsets.map((each) => el("tr", {}, el("td", { text: each.topic }), ...numbers(each)));
  return el("table", {}, headings(["Topic", "#Part", "#First", "#Next", "#Landed", "#Rejected", "#Filtered"]), el("tbody", {}, ...rows));
}

function columns(told) {
  const rows = [];
  const add = (fields, depth) => {
    for (const field of fields) {
      const name = el("td", {}, el("code", { text: field.name }));
      name.style.paddingLeft = `${depth * 16}px`;
      const origin = depth === 0 ? told.column_lineage[field.name] : undefined;
      const from = origin ? [...new Set(origin.inputFields.map((each) => each.field))].join(", ") : "";
      const same = from === field.name;
      rows.push(el("tr", {}, name, el("td", { class: "faint", text: typeof field.type === "string" ? field.type : "" }), el("td", { class: same ? "faint" : null, text: depth ? "" : field.name.startsWith("_") && !origin ? "the record itself" : same ? "as sent" : from && `from ${from}` })));
      if (field.fields) add(field.fields, depth + 1);
    }
  };
  add(told.columns, 0);
  return el("div", { class: "scroll" }, el("table", { class: "columns" }, headings(["Column", "Type", "Origin"]), el("tbody", {}, ...rows)));
}

// Rows that each of the newest versions added, oldest first.
function bars(versions) {
  const rows = [...versions].reverse();
  const added = (version) => (version.data_change === false ? 0 : (version.rows_added ?? 0));
  const most = Math.max(1, ...rows.map(added));
  const step = 100 / Math.max(rows.length, 24);
  const drawn = rows.map((version, place) => {
    const share = added(version) / most;
    const height = share > 0 ? Math.max(2, share * 40) : 1.2;
    const bar = svg("rect", { x: place * step + step * 0.14, y: 42 - height, width: step * 0.72, height, rx: 0.6, class: share > 0 ? "bar" : "bar none" });
    bar.append(svg("title"));
    bar.lastChild.textContent = `version ${version.version}: ${changeOf(version)}`;
    return bar;
  });
  const picture = svg("svg", { viewBox: "0 0 100 43", preserveAspectRatio: "none", role: "img", "aria-label": `Rows added by each of the newest ${rows.length} versions; at most ${count(most)}` }, ...drawn);
  return el("figure", { class: "bars" }, picture, el("figcaption", {}, el("span", { text: `rows a version, newest ${rows.length}` }), el("span", { text: `max ${count(most)}` })));
}

function copyButton(text) {
  const button = el("button", { type: "button", class: "plain copy", "aria-label": "Copy the full name", title: "Copy", text: "copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  });
  return button;
}
