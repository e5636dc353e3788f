// Where nodes stand: a layered drawing from left to right. Pure: the same graph gives the same picture.

const COLUMN_GAP = 46;
const ROW_GAP = 26;
const COMPONENT_GAP = 54;
const SWEEPS = 12;
// A long edge passes the columns between through slots of this height.
const SLOT = 18;

export const sizeOf = (node) => (node.type === "job" ? [180, 48] : [226, node.inner?.length ? 112 : 82]);

// Jobs that only tend one dataset (compaction, delete, creation) become chips on it; a worker's own run, which names no
// output, is told at its landing.
export function simplify(nodes, edges) {
  const kept = new Map(nodes.map((node) => [node.id, { ...node, inner: [], worker: null }]));
  const sides = new Map(nodes.filter((node) => node.type === "job").map((job) => [job.id, { reads: new Set(), writes: new Set() }]));
  for (const { source, target } of edges) {
    sides.get(target)?.reads.add(source);
    sides.get(source)?.writes.add(target);
  }
  for (const [id, { reads, writes }] of sides) {
    const job = kept.get(id);
    const around = new Set([...reads, ...writes]);
    if (around.size === 1 && writes.size === 1) {
      kept.get([...around][0])?.inner.push(job);
      kept.delete(id);
    } else if (writes.size === 0) {
      const child = nodes.find((other) => other.type === "job" && other.namespace === job.namespace && other.name.startsWith(`${job.name}.`));
      if (child && kept.has(child.id)) {
        kept.get(child.id).worker = job;
        kept.delete(id);
      }
    }
  }
  return { nodes: [...kept.values()], edges: edges.filter((edge) => kept.has(edge.source) && kept.has(edge.target)) };
}

// -> { places: Map id -> {x, y, width, height}, routes: [{source, target, points: [[x, y], …]}], width, height }
export function arrange(nodes, edges) {
  const places = new Map();
  const routes = [];
  let top = 0;
  let width = 0;
  for (const part of components(nodes, edges)) {
    const drawn = arrangeComponent(part.nodes, part.edges);
    for (const [id, place] of drawn.places) places.set(id, { ...place, y: place.y + top });
    for (const route of drawn.routes) routes.push({ ...route, points: route.points.map(([x, y]) => [x, y + top]) });
    top += drawn.height + COMPONENT_GAP;
    width = Math.max(width, drawn.width);
  }
  return { places, routes, width, height: Math.max(0, top - COMPONENT_GAP) };
}

function components(nodes, edges) {
  const leader = new Map(nodes.map((node) => [node.id, node.id]));
  const find = (id) => {
    while (leader.get(id) !== id) {
      leader.set(id, leader.get(leader.get(id)));
      id = leader.get(id);
    }
    return id;
  };
  for (const { source, target } of edges) leader.set(find(source), find(target));
  const parts = new Map();
  for (const node of nodes) {
    const root = find(node.id);
    if (!parts.has(root)) parts.set(root, { nodes: [], edges: [] });
    parts.get(root).nodes.push(node);
  }
  for (const edge of edges) parts.get(find(edge.source)).edges.push(edge);
  return [...parts.values()].sort((a, b) => b.nodes.length - a.nodes.length);
}

function arrangeComponent(nodes, edges) {
  const forward = withoutCycles(nodes, edges);
  const ranks = rank(nodes, forward);
  const { slots, links, chains } = withSlots(nodes, forward, ranks);
  const columns = order(slots, links);
  const centers = settle(columns, links);
  return place(columns, centers, chains);
}

// Depth-first: an edge back to a node that is being visited would close a cycle; it is drawn the other way round.
function withoutCycles(nodes, edges) {
  const outgoing = group(edges, "source");
  const state = new Map();
  const turned = new Set();
  for (const start of nodes) {
    if (state.has(start.id)) continue;
    const stack = [[start.id, 0]];
    state.set(start.id, "open");
    while (stack.length) {
      const top = stack[stack.length - 1];
      const edge = (outgoing.get(top[0]) ?? [])[top[1]++];
      if (!edge) {
        state.set(top[0], "done");
        stack.pop();
      } else if (state.get(edge.target) === "open") {
        turned.add(edge);
      } else if (!state.has(edge.target)) {
        state.set(edge.target, "open");
        stack.push([edge.target, 0]);
      }
    }
  }
  return edges
    .filter((edge) => edge.source !== edge.target)
    .map((edge) => (turned.has(edge) ? { from: edge.target, to: edge.source, edge, turned: true } : { from: edge.source, to: edge.target, edge, turned: false }));
}

function rank(nodes, forward) {
  const incoming = group(forward, "to");
  const outgoing = group(forward, "from");
  const waiting = new Map(nodes.map((node) => [node.id, (incoming.get(node.id) ?? []).length]));
  const ready = nodes.filter((node) => waiting.get(node.id) === 0).map((node) => node.id);
  const ranks = new Map(nodes.map((node) => [node.id, 0]));
  const sequence = [];
  while (ready.length) {
    const id = ready.shift();
    sequence.push(id);
    for (const { to } of outgoing.get(id) ?? []) {
      ranks.set(to, Math.max(ranks.get(to), ranks.get(id) + 1));
      waiting.set(to, waiting.get(to) - 1);
      if (waiting.get(to) === 0) ready.push(to);
    }
  }
  // A source stands right before what reads it, however far to the right that is.
  for (const id of sequence.reverse()) {
    const next = outgoing.get(id);
    if (next?.length && !incoming.get(id)?.length) ranks.set(id, Math.min(...next.map(({ to }) => ranks.get(to))) - 1);
  }
  const least = Math.min(...ranks.values());
  for (const [id, value] of ranks) ranks.set(id, value - least);
  return ranks;
}

// Edges over several columns get a slot in each column between, so that they bend around nodes instead of crossing them.
function withSlots(nodes, forward, ranks) {
  const slots = nodes.map((node) => ({ id: node.id, column: ranks.get(node.id), width: sizeOf(node)[0], height: sizeOf(node)[1], node }));
  const links = [];
  const chains = [];
  forward.forEach(({ from, to, edge, turned }, number) => {
    const chain = [from];
    for (let column = ranks.get(from) + 1; column < ranks.get(to); column++) {
      const id = `slot ${number} ${column}`;
      slots.push({ id, column, width: 0, height: SLOT, node: null });
      chain.push(id);
    }
    chain.push(to);
    for (let step = 1; step < chain.length; step++) links.push({ from: chain[step - 1], to: chain[step] });
    chains.push({ edge, chain, turned });
  });
  return { slots, links, chains };
}

function order(slots, links) {
  const columns = [];
  for (const slot of slots) (columns[slot.column] ??= []).push(slot);
  for (let column = 0; column < columns.length; column++) columns[column] ??= [];
  const before = group(links, "to");
  const after = group(links, "from");
  let best = columns.map((column) => [...column]);
  let fewest = crossings(best, after);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const down = sweep % 2 === 0;
    const sequence = [...columns.keys()];
    for (const index of down ? sequence : sequence.reverse()) {
      const beside = columns[down ? index - 1 : index + 1];
      if (!beside) continue;
      const position = new Map(beside.map((slot, place) => [slot.id, place]));
      const weight = new Map(
        columns[index].map((slot, place) => {
          const near = (down ? before.get(slot.id)?.map((link) => link.from) : after.get(slot.id)?.map((link) => link.to)) ?? [];
          const known = near.filter((id) => position.has(id));
          return [slot.id, known.length ? known.reduce((sum, id) => sum + position.get(id), 0) / known.length : place];
        }),
      );
      columns[index].sort((a, b) => weight.get(a.id) - weight.get(b.id));
    }
    const now = crossings(columns, after);
    if (now < fewest) {
      fewest = now;
      best = columns.map((column) => [...column]);
    }
  }
  return best;
}

function crossings(columns, after) {
  let total = 0;
  for (let index = 0; index + 1 < columns.length; index++) {
    const position = new Map(columns[index + 1].map((slot, place) => [slot.id, place]));
    const ends = columns[index].flatMap((slot) => (after.get(slot.id) ?? []).map((link) => position.get(link.to)).sort((a, b) => a - b));
    for (let i = 0; i < ends.length; i++) for (let j = i + 1; j < ends.length; j++) if (ends[j] < ends[i]) total++;
  }
  return total;
}

// Each slot wants to stand level with its neighbours; order and gaps are kept. Returns the center of each.
function settle(columns, links) {
  const near = new Map();
  for (const { from, to } of links) {
    near.set(from, [...(near.get(from) ?? []), to]);
    near.set(to, [...(near.get(to) ?? []), from]);
  }
  const centers = new Map();
  for (const column of columns) {
    let y = 0;
    for (const slot of column) {
      centers.set(slot.id, y + slot.height / 2);
      y += slot.height + ROW_GAP;
    }
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const column of sweep % 2 ? [...columns].reverse() : columns) {
      const wanted = column.map((slot) => {
        const around = near.get(slot.id) ?? [];
        return around.length ? around.reduce((sum, id) => sum + centers.get(id), 0) / around.length : centers.get(slot.id);
      });
      spread(column, wanted).forEach((center, place) => centers.set(column[place].id, center));
    }
  }
  return centers;
}

// Nearest positions to the wanted ones that keep the order and the gaps: isotonic regression, by pooling neighbours.
function spread(column, wanted) {
  const offsets = [];
  let offset = 0;
  column.forEach((slot, place) => {
    if (place > 0) offset += column[place - 1].height / 2 + ROW_GAP + slot.height / 2;
    offsets.push(offset);
  });
  const pools = [];
  wanted.forEach((want, place) => {
    pools.push({ sum: want - offsets[place], size: 1 });
    while (pools.length > 1 && pools[pools.length - 2].sum / pools[pools.length - 2].size > pools[pools.length - 1].sum / pools[pools.length - 1].size) {
      const last = pools.pop();
      pools[pools.length - 1].sum += last.sum;
      pools[pools.length - 1].size += last.size;
    }
  });
  const settled = pools.flatMap((pool) => Array(pool.size).fill(pool.sum / pool.size));
  return settled.map((base, place) => base + offsets[place]);
}

function place(columns, centers, chains) {
  const places = new Map();
  let x = 0;
  const middles = [];
  for (const column of columns) {
    const width = Math.max(0, ...column.map((slot) => slot.width));
    middles.push([x, x + width]);
    for (const slot of column) {
      places.set(slot.id, { x: x + (width - slot.width) / 2, y: centers.get(slot.id) - slot.height / 2, width: slot.width, height: slot.height, column: slot.column });
    }
    x += width + COLUMN_GAP;
  }
  const top = Math.min(...[...places.values()].map((each) => each.y));
  for (const each of places.values()) each.y -= top;
  const routes = chains.map(({ edge, chain, turned }) => {
    const points = chain.flatMap((id, step) => {
      const at = places.get(id);
      const y = at.y + at.height / 2;
      if (step === 0) return [[at.x + at.width, y]];
      if (step === chain.length - 1) return [[at.x, y]];
      const [left, right] = middles[at.column];
      return [[left, y], [right, y]];
    });
    return { source: edge.source, target: edge.target, points: turned ? points.reverse() : points };
  });
  for (const id of [...places.keys()]) if (id.startsWith("slot ")) places.delete(id);
  const height = Math.max(...[...places.values()].map((each) => each.y + each.height));
  return { places, routes, width: x - COLUMN_GAP, height };
}

function group(items, key) {
  const grouped = new Map();
  for (const item of items) {
    if (!grouped.has(item[key])) grouped.set(item[key], []);
    grouped.get(item[key]).push(item);
  }
  return grouped;
}
