// Questions about the data: paths, what an image has at each, and sums over trees.

const LIVE = 0;
const FATES = ["live", "replaced", "same", "removed"];
// Maximum number of results that are kept: of 500,000 paths, sums have 12 MB.
const MAX_KEPT = 12;

class Paths {
  constructor(columns) {
    Object.assign(this, columns);
    this.lower = null;
  }

  bytes(path) {
    return this.names.subarray(this.nameAt[path], this.nameAt[path + 1] - 1);
  }

  name(path) {
    return path === 0 ? "/" : decodeName(this.bytes(path));
  }

  // Returns a path as text, without a slash in front; of very deep ones the beginning and the end.
  full(path) {
    if (path === 0) return "/";
    const parts = [];
    for (let at = path; at > 0; at = this.parent[at]) parts.push(at);
    parts.reverse();
    const texts = parts.length > 64 ? [...parts.slice(0, 32), -1, ...parts.slice(-32)] : parts;
    return texts.map((part) => (part < 0 ? "…" : this.name(part))).join("/");
  }

  *children(path) {
    for (let child = path + 1; child < this.end[path]; child = this.end[child]) yield child;
  }

  // Returns a mark for each path that has `query` in its name, or is below one that has; parts with slashes follow one another.
  matching(query) {
    this.lower ??= new TextDecoder().decode(this.names).toLowerCase().split("\0");
    const parts = query.toLowerCase().split("/");
    const marks = new Uint8Array(this.count);
    for (let path = 1; path < this.count; path += 1) {
      marks[path] = marks[this.parent[path]] || this.fits(path, parts) ? 1 : 0;
    }
    return marks;
  }

  fits(path, parts) {
    let at = path;
    for (let part = parts.length - 1; part >= 0; part -= 1) {
      if (at <= 0) return part === 0 && parts[0] === "";
      const name = this.lower[at - 1];
      const [first, last] = [part === 0, part === parts.length - 1];
      const fits = first && last ? name.includes(parts[part]) : first ? name.endsWith(parts[part]) : last ? name.startsWith(parts[part]) : name === parts[part];
      if (!fits) return false;
      at = this.parent[at];
    }
    return true;
  }

  // Adds what each path has of its own to all above it.
  sum(own) {
    for (let path = this.count - 1; path > 0; path -= 1) own[this.parent[path]] += own[path];
    return own;
  }
}

class ReportImage {
  constructor(report, number, hidden) {
    this.report = report;
    this.number = number;
    this.head = report.head.images[number];
    // Place of the first entry of each layer among those of the image.
    this.begins = [0];
    for (const layer of this.head.layers) this.begins.push(this.begins.at(-1) + report.head.layers[layer].entries);
    this.count = this.begins.at(-1);
    this.hidden = hidden;
    this.loaded = null;
  }

  get layers() {
    return this.head.layers;
  }

  layer(number) {
    return this.report.head.layers[this.layers[number]];
  }

  // Fates by place, and for each path the entry that is there in the end (-1 for none) and whether the path is there.
  load() {
    if (this.loaded) return this.loaded;
    const { fates, entries, paths } = this.report;
    const fate = new Uint8Array(this.count);
    const by = new Uint16Array(this.count);
    let at = 0;
    for (let index = this.hidden[0]; index < this.hidden[1]; index += 1) {
      at += fates.at[index];
      fate[at] = fates.fate[index];
      by[at] = fates.by[index];
    }
    const live = new Int32Array(paths.count).fill(-1);
    const layerOf = new Uint16Array(paths.count);
    const there = new Uint8Array(paths.count);
    this.each((entry, place, layer) => {
      if (fate[place] !== LIVE || entries.kind[entry] >= WHITEOUT) return;
      const node = entries.node[entry];
      live[node] = entry;
      layerOf[node] = layer;
      there[node] = 1;
    });
    for (let path = paths.count - 1; path > 0; path -= 1) if (there[path]) there[paths.parent[path]] = 1;
    there[0] = 1;
    this.loaded = { fate, by, live, layerOf, there };
    return this.loaded;
  }

  // Calls `work` with each entry, its place in the image and the number of its layer.
  each(work, only = -1) {
    const { starts } = this.report.entries;
    this.layers.forEach((stacked, layer) => {
      if (only >= 0 && only !== layer) return;
      let place = this.begins[layer];
      for (let entry = starts[stacked]; entry < starts[stacked + 1]; entry += 1) work(entry, place++, layer);
    });
  }

  // Returns what the layers did at one path, the lowest first.
  history(path) {
    const { entries } = this.report;
    const { fate, by } = this.load();
    const out = [];
    this.layers.forEach((stacked, layer) => {
      const start = entries.starts[stacked];
      let [low, high] = [start, entries.starts[stacked + 1]];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (entries.node[middle] < path) low = middle + 1;
        else high = middle;
      }
      for (; low < entries.starts[stacked + 1] && entries.node[low] === path; low += 1) {
        const place = this.begins[layer] + low - start;
        out.push({ entry: low, layer, fate: fate[place], by: by[place] });
      }
    });
    return out;
  }
}

class ReportModel {
  constructor(bytes) {
    const { head, columns } = readColumns(bytes);
    this.head = head;
    this.paths = new Paths(readPaths(head, columns));
    this.entries = readEntries(head, columns);
    this.fates = readFates(head, columns);
    let hidden = 0;
    this.images = head.images.map((image, number) => new ReportImage(this, number, [hidden, (hidden += image.hidden)]));
    this.kept = new Map();
  }

  // Returns the result of `work` for a key; those that were asked for last are kept.
  keep(key, work) {
    const result = this.kept.has(key) ? this.kept.get(key) : work();
    // A map is in the order of insertion: the key that nobody has asked for since comes first.
    this.kept.delete(key);
    this.kept.set(key, result);
    if (this.kept.size > MAX_KEPT) this.kept.delete(this.kept.keys().next().value);
    return result;
  }

  matches(query) {
    return query ? this.keep(`match ${query}`, () => this.paths.matching(query)) : null;
  }

  // Returns sums for each path: bytes that are there in the end, bytes that are hidden, files; of one layer or of all.
  // A hard link has no bytes of its own. `measure` is size, tar or packed.
  sums(image, measure, layer, query) {
    return this.keep(`sums ${image.number} ${measure} ${layer} ${query}`, () => {
      const { entries, paths } = this;
      const bytes = entries[measure];
      const marks = this.matches(query);
      const { fate } = image.load();
      const live = new Float64Array(paths.count);
      const hidden = new Float64Array(paths.count);
      const files = new Float64Array(paths.count);
      image.each((entry, place) => {
        const node = entries.node[entry];
        if (marks && !marks[node]) return;
        if (fate[place] === LIVE) {
          live[node] += bytes[entry];
          if (entries.kind[entry] !== DIRECTORY && entries.kind[entry] < WHITEOUT) files[node] += 1;
        } else {
          hidden[node] += bytes[entry];
        }
      }, layer);
      return { live: paths.sum(live), hidden: paths.sum(hidden), files: paths.sum(files) };
    });
  }

  // Returns bytes by fate and layer, of the paths at and below `path`.
  fateSums(image, measure, path, query) {
    return this.keep(`fates ${image.number} ${measure} ${path} ${query}`, () => {
      const { entries, paths } = this;
      const { fate } = image.load();
      const marks = this.matches(query);
      const layers = image.layers.map(() => [0, 0, 0, 0]);
      image.each((entry, place, layer) => {
        const node = entries.node[entry];
        if (node < path || node >= paths.end[path] || (marks && !marks[node])) return;
        layers[layer][fate[place]] += entries[measure][entry];
      });
      const total = [0, 0, 0, 0];
      for (const sums of layers) sums.forEach((bytes, which) => (total[which] += bytes));
      return { layers, total };
    });
  }

  // Returns the letter of each path that differs between two images, and sums of bytes on both sides.
  difference(a, b, measure, query) {
    return this.keep(`difference ${a.number} ${b.number} ${measure} ${query}`, () => {
      const { entries, paths } = this;
      const marks = this.matches(query);
      const [left, right] = [a.load(), b.load()];
      const letter = new Uint8Array(paths.count);
      const sides = [0, 1, 2, 3, 4].map(() => new Float64Array(paths.count));
      const [allA, allB, changedA, changedB, changes] = sides;
      const counts = LETTERS.map(() => new Uint32Array(paths.count));
      const bytes = entries[measure];
      for (let path = 0; path < paths.count; path += 1) {
        if (marks && !marks[path]) continue;
        const [ea, eb] = [left.live[path], right.live[path]];
        if (ea >= 0) allA[path] = bytes[ea];
        if (eb >= 0) allB[path] = bytes[eb];
        const found = this.letter(left.there[path], right.there[path], ea, eb);
        if (!found) continue;
        letter[path] = found;
        changes[path] = 1;
        counts[found][path] = 1;
        changedA[path] = allA[path];
        changedB[path] = allB[path];
      }
      for (const side of [...sides, ...counts]) paths.sum(side);
      return { letter, allA, allB, changedA, changedB, changes, counts };
    });
  }

  letter(inA, inB, ea, eb) {
    if (!inA || !inB) return inA ? DELETED : inB ? ADDED : 0;
    if (ea === eb || ea < 0 || eb < 0) return 0;
    const { kind, content, meta } = this.entries;
    const [ka, kb] = [kind[ea] === HARD_LINK ? 0 : kind[ea], kind[eb] === HARD_LINK ? 0 : kind[eb]];
    if (ka !== kb) return TYPE;
    if (content[ea] !== content[eb]) return MODIFIED;
    return meta[ea] !== meta[eb] ? METADATA : 0;
  }
}

const ADDED = 1;
const MODIFIED = 2;
const DELETED = 3;
const TYPE = 4;
const METADATA = 5;
const LETTERS = [
  ["", "unchanged"],
  ["A", "added"],
  ["M", "modified"],
  ["D", "deleted"],
  ["T", "other type"],
  ["m", "mode or owner"],
];
