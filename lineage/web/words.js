// Numbers, times and names as people read them; small builders of elements. Text always goes in as text, never as markup.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const moments = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });

export const count = (number) => (number === null || number === undefined ? "–" : whole.format(number));
export const brief = (number) => (Math.abs(number) < 1e7 ? whole.format(number) : short.format(number));
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export function bytes(number) {
  if (number === null || number === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const step = number < 1 ? 0 : Math.min(Math.floor(Math.log2(number) / 10), units.length - 1);
  const scaled = number / 2 ** (10 * step);
  return `${scaled < 10 && step > 0 ? scaled.toFixed(1) : Math.round(scaled)} ${units[step]}`;
}

export function ago(iso, nowMs) {
  if (!iso) return "";
  const seconds = Math.max(0, Math.round((nowMs - Date.parse(iso)) / 1000));
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${plural(Math.floor(seconds / 86400), "day")} ago`;
}

export const moment = (iso) => (iso ? moments.format(new Date(iso)) : "–");

export function dates(list) {
  if (!list.length) return "no dates";
  if (list.length === 1) return list[0];
  return `${list[0]} … ${list[list.length - 1]} (${count(list.length)})`;
}

export function label(node) {
  if (node.known_as) return node.known_as;
  if (node.type === "job" || node.kind === "topic") return node.name;
  return node.name.split("/").filter(Boolean).pop() ?? node.name;
}

// The same where there is little room: our own jobs are named after their dataset, which stands beside them.
export function title(node) {
  return node.type === "job" && node.integration === "THALWEG" ? node.name.split(".").pop() : label(node);
}

// "dataset:kafka://host:9092/flights" -> "flights"
export function labelOfId(id, known) {
  const node = known.get(id);
  return node ? label(node) : id.split("/").pop();
}

export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  fill(made, properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function fill(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else element.setAttribute(name, value === true ? "" : value);
  }
}
