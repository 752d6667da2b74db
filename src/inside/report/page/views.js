// The views of images: the tree as a treemap, the layers, the hidden bytes, and the difference of two images.

const PALETTE = 8;
const MAX_BARS = 300;
const FATE_WORDS = ["", "another content took its place", "the same content took its place", "a later layer removed it"];

function layerColor(layer) {
  return `layer-${layer % PALETTE}`;
}

function swatch(name) {
  const out = make("span", { class: "swatch", "aria-hidden": "true" });
  out.style.background = `var(--${name})`;
  return out;
}

function badge(layer) {
  return make("span", { class: "badge" }, swatch(layerColor(layer)), String(layer + 1));
}

// Makes a treemap of the paths below the one that is shown.
function treemapOf(page, label, weigh, paint, describe) {
  const { paths } = page.report;
  const map = new Treemap(paths, weigh, paint);
  const board = new Board(label, {
    open: (part) => page.enter(part.path),
    look: (part) => part.path >= 0 && page.look(part.path),
  });
  const canvas = make("canvas", { "aria-hidden": "true" });
  const element = make("div", { class: "treemap" }, canvas, board.element);
  const resize = () => {
    const [width, height] = [element.clientWidth, element.clientHeight];
    if (width < 20 || height < 20) return;
    const { top, others } = map.layout(page.now.path, width, height);
    const active = board.parts[board.active]?.id ?? page.from;
    const focused = element.contains(document.activeElement);
    board.element.replaceChildren();
    const parts = top.map((box) => treemapPart(page, box, describe));
    if (others) parts.push(restPart(others));
    board.show(parts, active);
    if (parts.length === 0) board.element.append(make("p", { class: "empty" }, page.nothing()));
    map.draw(canvas, width, height);
    if (focused) board.focus();
  };
  board.element.addEventListener("pointermove", (event) => {
    const corner = element.getBoundingClientRect();
    const box = map.at(event.clientX - corner.left, event.clientY - corner.top);
    if (box) page.look(box.path);
  });
  return { element, resize, focus: () => board.focus() };
}

function treemapPart(page, box, describe) {
  const { paths } = page.report;
  const name = paths.name(box.path);
  const opens = paths.end[box.path] > box.path + 1;
  const { size, words } = describe(box.path);
  const element = make("div", {});
  if (box.width > 46 && box.height > 17) {
    element.append(isolated(name, "name"));
    if (box.width > 110) element.append(make("span", { class: "size" }, size));
    if (box.height > 36 && !opens) element.classList.add("leaf");
  }
  place(element, box.x, box.y, box.width, box.height);
  return { ...box, id: box.path, element, opens, label: `${name}, ${opens ? "directory, " : ""}${words}` };
}

function restPart(box) {
  const element = make("div", { class: "others" });
  if (box.width > 60 && box.height > 17) element.append(make("span", { class: "name" }, `${number(box.count)} more`));
  place(element, box.x, box.y, box.width, box.height);
  return { ...box, id: -1, element, opens: false, label: `${number(box.count)} smaller ones, ${human(box.bytes)} together; the table has them` };
}

const mapView = {
  id: "map",
  label: "Contents",
  picture(page) {
    const { now, image, report } = page;
    const sums = page.sums();
    const { layerOf } = image.load();
    const weigh = now.layer < 0 ? (path) => sums.live[path] : (path) => sums.live[path] + sums.hidden[path];
    const total = weigh(now.path);
    const paint = (path) => ({
      name: layerColor(now.layer < 0 ? layerOf[path] : now.layer),
      hatched: sums.hidden[path] > 0 && now.layer >= 0 && sums.live[path] === 0,
    });
    page.foot(legend(page));
    return treemapOf(page, `Contents of ${report.paths.full(now.path)}`, weigh, paint, (path) => ({
      size: human(weigh(path)),
      words: `${human(weigh(path))}, ${percent(weigh(path), total)}, layer ${(now.layer < 0 ? layerOf[path] : now.layer) + 1}`,
    }));
  },
  table(page) {
    const { now, image, report } = page;
    const { paths, entries } = report;
    const [size, packed] = [page.sums("size"), page.sums("packed")];
    const { live, layerOf, there } = image.load();
    const marks = report.matches(now.query);
    const rows = [];
    const inLayer = (path) => size.files[path] > 0 || packed.live[path] + packed.hidden[path] > 0;
    const take = (path) => (now.layer < 0 ? there[path] && (!marks || marks[path]) : inLayer(path)) && rows.push(path);
    if (marks) for (let path = now.path + 1; path < paths.end[now.path]; path += 1) take(path);
    else for (const child of paths.children(now.path)) take(child);
    const bytes = (path, sums) => sums.live[path] + (now.layer < 0 ? 0 : sums.hidden[path]);
    const kind = (path) => (live[path] < 0 ? (paths.end[path] > path + 1 ? "directory" : "hidden") : KINDS[entries.kind[live[path]]]);
    const total = bytes(now.path, size);
    const columns = [
      pathColumn(page, marks ? "Path" : "Name", !marks),
      { id: "size", label: "Unpacked", numeric: true, value: (path) => bytes(path, size), cell: (path) => human(bytes(path, size)) },
      { id: "packed", label: "Compressed", numeric: true, value: (path) => bytes(path, packed), cell: (path) => human(bytes(path, packed)) },
      { id: "share", label: "Share", numeric: true, optional: true, wide: "8rem", value: (path) => bytes(path, size), cell: (path) => shareBar(bytes(path, size), total) },
      { id: "files", label: "Files", numeric: true, optional: true, value: (path) => size.files[path], cell: (path) => number(size.files[path]) },
      { id: "kind", label: "Type", optional: true, wide: "9rem", value: kind, cell: kind },
      { id: "layer", label: "Layer", numeric: true, value: (path) => layerOf[path], cell: (path) => badge(now.layer < 0 ? layerOf[path] : now.layer) },
    ];
    return { label: `Contents of ${paths.full(now.path)}`, columns, rows, sort: now.measure === "packed" ? "packed.down" : "size.down", open: (path) => page.enter(path), look: (path) => page.look(path) };
  },
};

function pathColumn(page, label, short, pathOf = (row) => row) {
  const { paths } = page.report;
  const cell = (row) => {
    const path = pathOf(row);
    const out = isolated(short ? paths.name(path) : paths.full(path), "path");
    if (paths.end[path] > path + 1) out.append("/");
    return out;
  };
  return { id: "path", label, wide: "minmax(9rem, 1fr)", value: pathOf, cell };
}

function shareBar(part, whole) {
  const fill = make("span", { class: "fill" });
  fill.style.width = `${whole ? Math.max(0, Math.min(100, (100 * part) / whole)) : 0}%`;
  return make("span", { class: "share" }, make("span", { class: "track", "aria-hidden": "true" }, fill), percent(part, whole));
}

function legend(page) {
  const { image, now } = page;
  const list = make("ul", { class: "legend", "aria-label": "Layers" });
  image.layers.forEach((_, layer) => {
    if (layer >= 12 || (now.layer >= 0 && now.layer !== layer)) return;
    list.append(make("li", {}, badge(layer), isolated(command(image.layer(layer).command), "command")));
  });
  if (image.layers.length > 12 && now.layer < 0) list.append(make("li", {}, `and ${image.layers.length - 12} more; colors begin again after ${PALETTE}`));
  return list;
}

const layersView = {
  id: "layers",
  label: "Layers",
  picture(page) {
    const { now, image, report } = page;
    const measure = page.tarMeasure();
    const sums = report.fateSums(image, measure, now.path, now.query);
    const parts = layerParts(report, image, measure, now.path, now.query);
    const most = Math.max(1, ...sums.layers.map((fates) => fates.reduce((a, b) => a + b)));
    const board = new Board("Layers, the lowest first", { open: (part) => page.state.go({ view: "map", layer: part.id }), look: (part) => page.lookAtLayer(part.id) });
    const height = 62;
    const list = sums.layers.map((fates, layer) => {
      const total = fates.reduce((a, b) => a + b);
      const band = make("div", { class: "band" });
      band.style.width = `${(100 * total) / most}%`;
      for (const [path, bytes] of parts[layer]) {
        const name = path < 0 ? "" : path === now.path ? "" : report.paths.name(path);
        const segment = make("span", { class: "segment" }, make("bdi", {}, name));
        segment.style.flexGrow = String(bytes);
        segment.style.background = `var(--${layerColor(layer)})`;
        band.append(segment);
      }
      const hidden = total - fates[LIVE];
      if (hidden > 0) {
        const segment = make("span", { class: "segment hidden" });
        segment.style.flexGrow = String(hidden);
        band.append(segment);
      }
      const text = command(image.layer(layer).command);
      const line = make("div", { class: "line" }, badge(layer), isolated(text, "command"), make("span", { class: "size" }, hidden > 0 ? `${human(total)}, ${human(hidden)} hidden` : human(total)));
      const element = make("div", { class: "layer" }, line, make("div", { class: "lane" }, band));
      return { id: layer, element, opens: true, x: 0, y: layer * height, width: 100, height, label: `Layer ${layer + 1}, ${human(total)}, ${human(hidden)} hidden, ${text}` };
    });
    board.show(list, now.layer);
    page.foot(make("p", { class: "note" }, make("span", { class: "swatch hidden" }), "hidden by later layers: nobody sees these bytes, and everybody pulls them"));
    return { element: make("div", { class: "list" }, board.element), resize() {}, focus: () => board.focus() };
  },
  table(page) {
    const { now, image, report } = page;
    const sums = report.fateSums(image, page.tarMeasure(), now.path, now.query);
    const all = (layer) => sums.layers[layer].reduce((a, b) => a + b);
    const text = (layer) => command(image.layer(layer).command);
    const columns = [
      { id: "layer", label: "Layer", numeric: true, value: (layer) => layer, cell: badge },
      { id: "command", label: "Command", wide: "minmax(9rem, 1fr)", value: text, cell: (layer) => isolated(text(layer), "path") },
      { id: "packed", label: "Blob", numeric: true, value: (layer) => image.layer(layer).size, cell: (layer) => human(image.layer(layer).size) },
      { id: "bytes", label: page.measureName(), numeric: true, value: all, cell: (layer) => human(all(layer)) },
      { id: "hidden", label: "Hidden", numeric: true, value: (layer) => all(layer) - sums.layers[layer][LIVE], cell: (layer) => human(all(layer) - sums.layers[layer][LIVE]) },
      { id: "entries", label: "Entries", numeric: true, optional: true, value: (layer) => image.layer(layer).entries, cell: (layer) => number(image.layer(layer).entries) },
    ];
    return { label: "Layers", columns, rows: image.layers.map((_, layer) => layer), sort: "layer.up", open: (layer) => page.state.go({ view: "map", layer, table: true }), look: (layer) => page.lookAtLayer(layer) };
  },
};

// Returns for each layer the children of a path with their live bytes, the largest first; -1 stands for the smaller ones.
function layerParts(report, image, measure, path, query) {
  const { entries, paths } = report;
  const marks = report.matches(query);
  const child = new Int32Array(paths.end[path] - path).fill(path);
  for (const at of paths.children(path)) child.fill(at, at - path, paths.end[at] - path);
  const { fate } = image.load();
  const maps = image.layers.map(() => new Map());
  image.each((entry, place, layer) => {
    const node = entries.node[entry];
    if (fate[place] !== LIVE || node < path || node >= paths.end[path] || (marks && !marks[node])) return;
    const key = child[node - path];
    maps[layer].set(key, (maps[layer].get(key) ?? 0) + entries[measure][entry]);
  });
  return maps.map((map) => {
    const list = [...map].sort((a, b) => b[1] - a[1]);
    const rest = list.splice(10).reduce((sum, [, bytes]) => sum + bytes, 0);
    return rest > 0 ? [...list, [-1, rest]] : list;
  });
}

const wasteView = {
  id: "waste",
  label: "Waste",
  picture(page) {
    const { now, image, report } = page;
    const measure = page.tarMeasure();
    const sums = page.sums(measure);
    const worst = worstFates(report, image);
    const { total } = report.fateSums(image, measure, now.path, now.query);
    const map = treemapOf(page, `Hidden bytes below ${report.paths.full(now.path)}`, (path) => sums.hidden[path], (path) => ({ name: `fate-${worst[path]}` }), (path) => ({
      size: human(sums.hidden[path]),
      words: `${human(sums.hidden[path])} hidden${worst[path] ? `, ${FATES[worst[path]]}` : ""}`,
    }));
    page.foot(make("p", { class: "note" }, "Live bytes are what an unpack leaves. All else travels with the image and is seen by nobody."));
    return { ...map, element: make("div", { class: "stack" }, fateBar(total), map.element) };
  },
  table(page) {
    const { now, image, report } = page;
    const { entries, paths } = report;
    const { fate, by } = image.load();
    const marks = report.matches(now.query);
    const rows = [];
    const found = [];
    image.each((entry, at, layer) => {
      const node = entries.node[entry];
      if (fate[at] === LIVE || node < now.path || node >= paths.end[now.path] || (marks && !marks[node])) return;
      rows.push(rows.length);
      found.push({ entry, at, layer });
    });
    const node = (row) => entries.node[found[row].entry];
    const columns = [
      pathColumn(page, "Path", false, node),
      { id: "fate", label: "Fate", wide: "7rem", value: (row) => FATES[fate[found[row].at]], cell: (row) => FATES[fate[found[row].at]] },
      { id: "tar", label: "In the tar", numeric: true, value: (row) => entries.tar[found[row].entry], cell: (row) => human(entries.tar[found[row].entry]) },
      { id: "packed", label: "Compressed", numeric: true, value: (row) => entries.packed[found[row].entry], cell: (row) => human(entries.packed[found[row].entry]) },
      { id: "layer", label: "Layer", numeric: true, value: (row) => found[row].layer, cell: (row) => badge(found[row].layer) },
      { id: "by", label: "Hidden by", numeric: true, value: (row) => by[found[row].at], cell: (row) => badge(by[found[row].at]) },
    ];
    return { label: "Hidden entries", columns, rows, sort: now.measure === "packed" ? "packed.down" : "tar.down", open: (row) => page.look(node(row)), look: (row) => page.look(node(row)) };
  },
};

// Returns for each path the fate of its largest hidden entry.
function worstFates(report, image) {
  return report.keep(`worst ${image.number}`, () => {
    const { entries, paths } = report;
    const { fate } = image.load();
    const worst = new Uint8Array(paths.count);
    const bytes = new Float64Array(paths.count);
    image.each((entry, at) => {
      const node = entries.node[entry];
      if (fate[at] === LIVE || entries.tar[entry] < bytes[node]) return;
      [worst[node], bytes[node]] = [fate[at], entries.tar[entry]];
    });
    return worst;
  });
}

// Shows bytes by fate as one bar, whose parts add up to the layers.
function fateBar(total) {
  const all = total.reduce((a, b) => a + b);
  const bar = make("div", { class: "fates", role: "img", "aria-label": total.map((bytes, fate) => `${FATES[fate]} ${human(bytes)}`).join(", ") });
  const list = make("dl", { class: "figures small" });
  total.forEach((bytes, fate) => {
    const part = make("span", { class: `fate fate-${fate}` });
    part.style.flexGrow = String(all ? bytes / all : 0);
    bar.append(part);
    list.append(make("div", { title: FATE_WORDS[fate] }, make("dt", {}, swatch(`fate-${fate}`), FATES[fate]), make("dd", {}, human(bytes), " ", make("small", {}, percent(bytes, all)))));
  });
  return make("div", { class: "summary" }, bar, list);
}

const differenceView = {
  id: "difference",
  label: "Difference",
  picture(page) {
    const { now, report } = page;
    const { paths } = report;
    const found = page.difference();
    const rows = [...paths.children(now.path)].filter((path) => found.changes[path] > 0);
    const weight = (path) => Math.max(found.changedA[path], found.changedB[path]);
    rows.sort((a, b) => weight(b) - weight(a) || a - b);
    const most = rows.reduce((max, path) => Math.max(max, weight(path)), 1);
    const board = new Board(`Difference below ${paths.full(now.path)}`, { open: (part) => page.enter(part.id), look: (part) => page.look(part.id) });
    const parts = rows.slice(0, MAX_BARS).map((path, index) => differencePart(page, found, path, index, most));
    board.show(parts, page.from);
    if (parts.length === 0) board.element.append(make("p", { class: "empty" }, "No difference here."));
    if (rows.length > MAX_BARS) board.element.append(make("p", { class: "empty" }, `and ${number(rows.length - MAX_BARS)} more; the table has them`));
    const heads = make("div", { class: "pair heads" }, make("div", {}, "A ", isolated(shown(page.image.head.name))), make("div", {}, ""), make("div", {}, "B ", isolated(shown(page.other.head.name))));
    page.foot(letterLegend());
    return { element: make("div", { class: "list" }, heads, board.element), resize() {}, focus: () => board.focus() };
  },
  table(page) {
    const { now, report } = page;
    const { paths } = report;
    const found = page.difference();
    const rows = [];
    for (let path = now.path; path < paths.end[now.path]; path += 1) if (found.letter[path]) rows.push(path);
    const delta = (path) => found.allB[path] - found.allA[path];
    const columns = [
      { id: "letter", label: "Change", wide: "6rem", value: (path) => found.letter[path], cell: (path) => letterOf(found.letter[path]) },
      pathColumn(page, "Path", false),
      { id: "a", label: "A", numeric: true, value: (path) => found.allA[path], cell: (path) => human(found.allA[path]) },
      { id: "b", label: "B", numeric: true, value: (path) => found.allB[path], cell: (path) => human(found.allB[path]) },
      { id: "delta", label: "B − A", numeric: true, value: delta, cell: (path) => signed(delta(path)) },
    ];
    return { label: "Paths that differ", columns, rows, sort: "delta.down", open: (path) => page.look(path), look: (path) => page.look(path) };
  },
};

// Shows a path that differs: its changed bytes in A to the left, in B to the right, and between them the name and the letters.
function differencePart(page, found, path, index, most) {
  const { paths } = page.report;
  const opens = paths.end[path] > path + 1;
  const counts = LETTERS.map((_, letter) => (letter ? found.counts[letter][path] : 0));
  const letters = make("span", { class: "letters" });
  counts.forEach((count, letter) => count && letters.append(letterOf(letter), ...(opens ? [number(count)] : [LETTERS[letter][1]])));
  const words = counts.map((count, letter) => (count ? `${number(count)} ${LETTERS[letter][1]}` : "")).filter(Boolean).join(", ");
  const delta = found.allB[path] - found.allA[path];
  const name = isolated(paths.name(path) + (opens ? "/" : ""), "name");
  const middle = make("div", { class: "middle" }, name, make("div", { class: "line" }, letters, make("span", { class: "size" }, signed(delta))));
  const element = make("div", { class: "pair" }, sideBar(found.changedA[path], most, "a"), middle, sideBar(found.changedB[path], most, "b"));
  const label = `${paths.name(path)}, ${words}, A ${human(found.changedA[path])}, B ${human(found.changedB[path])}`;
  return { id: path, element, opens, x: 0, y: index * 48, width: 100, height: 48, label };
}

function letterOf(letter) {
  return make("span", { class: `letter letter-${letter}`, title: LETTERS[letter][1] }, LETTERS[letter][0] || "·");
}

function letterLegend() {
  const list = make("ul", { class: "legend", "aria-label": "Letters" });
  LETTERS.forEach(([, word], letter) => letter && list.append(make("li", {}, letterOf(letter), word)));
  list.append(make("li", {}, "the bars show the bytes of what differs: A to the left, B to the right"));
  return list;
}

function signed(delta) {
  return delta > 0 ? `+${human(delta)}` : delta < 0 ? human(delta) : "±0";
}

function sideBar(bytes, most, side) {
  const bar = make("span", { class: "bytes" });
  bar.style.width = `${(78 * bytes) / most}%`;
  return make("div", { class: `side side-${side}` }, bar, make("span", { class: "size" }, bytes ? human(bytes) : ""));
}
