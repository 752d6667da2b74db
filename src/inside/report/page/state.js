// The state of the page is its fragment, so that a link leads to a view, and the browser's own keys go back and forth.

const VIEWS = ["map", "layers", "waste", "difference", "store"];
const DEFAULTS = { view: "map", image: 0, b: 1, path: 0, table: false, measure: "size", layer: -1, query: "", sort: "" };

class State {
  constructor(report, changed) {
    this.report = report;
    this.changed = changed;
    const images = report.images.length;
    this.defaults = { ...DEFAULTS, view: images ? DEFAULTS.view : "store", b: Math.max(0, Math.min(DEFAULTS.b, images - 1)) };
    this.now = this.read();
    addEventListener("hashchange", () => {
      const now = this.read();
      // The fragment that `go` has set is shown already.
      if (this.text(now) === this.text(this.now)) return;
      this.now = now;
      this.changed();
    });
  }

  // Changes fields; a step that only refines the last one replaces it in the history.
  go(fields, refines = false) {
    const next = { ...this.now, ...fields };
    const text = this.text(next);
    if (text === this.text(this.now)) return;
    if (refines) location.replace(`#${text}`);
    else location.hash = text;
    this.now = next;
    this.changed();
  }

  text(state) {
    const parts = [];
    for (const [name, value] of Object.entries(state)) {
      if (value === this.defaults[name]) continue;
      parts.push(`${name}=${name === "path" ? this.encodePath(value) : encodeURIComponent(value)}`);
    }
    return parts.join("&");
  }

  // Returns whether the data have what a view shows.
  offers(view) {
    const images = this.report.images.length;
    if (view === "difference") return images > 1;
    if (view === "store") return images === 0 || images + this.report.head.others.length > 1;
    return VIEWS.includes(view) && images > 0;
  }

  read() {
    const given = {};
    for (const part of location.hash.slice(1).split("&")) {
      const cut = part.indexOf("=");
      if (cut > 0) given[part.slice(0, cut)] = part.slice(cut + 1);
    }
    const images = Math.max(this.report.images.length, 1);
    const image = whole(given.image, DEFAULTS.image, images);
    return {
      view: this.offers(given.view) ? given.view : this.defaults.view,
      image,
      b: whole(given.b, this.defaults.b, images),
      path: given.path ? this.decodePath(given.path) : 0,
      table: given.table === "true",
      measure: given.measure === "packed" ? "packed" : DEFAULTS.measure,
      layer: whole(given.layer, -1, this.report.images[image]?.layers.length ?? 0),
      query: decoded(given.query ?? ""),
      sort: /^[a-z]+\.(up|down)$/.test(given.sort ?? "") ? given.sort : "",
    };
  }

  encodePath(path) {
    const { paths } = this.report;
    const parts = [];
    for (let at = path; at > 0; at = paths.parent[at]) {
      let part = "";
      for (const byte of paths.bytes(at)) {
        const plain = (byte > 47 && byte < 58) || (byte > 64 && byte < 91) || (byte > 96 && byte < 123) || byte === 45 || byte === 46 || byte === 95;
        part += plain ? String.fromCharCode(byte) : `%${byte.toString(16).padStart(2, "0")}`;
      }
      parts.push(part);
    }
    return parts.reverse().join("/");
  }

  // Returns the deepest path of the data on the way to the given one.
  decodePath(text) {
    const { paths } = this.report;
    let at = 0;
    for (const part of text.split("/")) {
      const bytes = percentDecoded(part);
      let found = -1;
      for (const child of paths.children(at)) {
        const name = paths.bytes(child);
        if (name.length === bytes.length && bytes.every((byte, index) => byte === name[index])) found = child;
      }
      if (found < 0) return at;
      at = found;
    }
    return at;
  }
}

// Returns a number in text that is below `limit`, else `other`.
function whole(text, other, limit) {
  return /^\d{1,6}$/.test(text ?? "") && Number(text) < limit ? Number(text) : other;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function percentDecoded(text) {
  const out = [];
  for (let at = 0; at < text.length; at += 1) {
    const escape = text[at] === "%" ? parseInt(text.slice(at + 1, at + 3), 16) : NaN;
    if (Number.isNaN(escape)) {
      out.push(text.charCodeAt(at) & 0xff);
    } else {
      out.push(escape);
      at += 2;
    }
  }
  return out;
}
