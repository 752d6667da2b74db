// A squarified treemap: parts for the children of a path, and on a canvas below them what those hold, as far as it can be seen.

const TITLE = 20;
const MIN_AREA = 14;
const MIN_PART = 40;
const MAX_PARTS = 300;

// Divides a rectangle among weights, the largest first, into shapes that are as square as possible (Bruls, Huizing, van Wijk).
function squarify(weights, x, y, width, height) {
  const out = [];
  let total = 0;
  for (const weight of weights) total += weight;
  const scale = total > 0 ? (width * height) / total : 0;
  let start = 0;
  while (start < weights.length) {
    const side = Math.min(width, height);
    let sum = 0;
    let worst = Infinity;
    let end = start;
    while (end < weights.length) {
      const next = sum + weights[end] * scale;
      const ratio = Math.max((side * side * weights[start] * scale) / (next * next), (next * next) / (side * side * weights[end] * scale));
      if (ratio > worst) break;
      [sum, worst] = [next, ratio];
      end += 1;
    }
    const thick = side > 0 ? sum / side : 0;
    let along = 0;
    for (let index = start; index < end; index += 1) {
      const length = thick > 0 ? (weights[index] * scale) / thick : 0;
      out.push(width >= height ? [x, y + along, thick, length] : [x + along, y, length, thick]);
      along += length;
    }
    if (width >= height) [x, width] = [x + thick, width - thick];
    else [y, height] = [y + thick, height - thick];
    start = end;
  }
  return out;
}

class Treemap {
  // `weigh` gives the bytes of a path, `paint` the name of the color of a file and whether it is hatched.
  constructor(paths, weigh, paint) {
    Object.assign(this, { paths, weigh, paint });
    this.boxes = [];
  }

  // Returns the children of a path that get at least `least` square pixels, the largest first, and the sum and number of the others.
  children(path, area, least) {
    const kept = [];
    let [total, small, left] = [0, 0, 0];
    for (const child of this.paths.children(path)) total += this.weigh(child);
    const limit = (total * least) / area;
    for (const child of this.paths.children(path)) {
      const weight = this.weigh(child);
      if (weight <= 0) continue;
      if (weight >= limit) kept.push(child);
      else [small, left] = [small + weight, left + 1];
    }
    kept.sort((a, b) => this.weigh(b) - this.weigh(a) || a - b);
    for (const child of kept.splice(MAX_PARTS * 4)) [small, left] = [small + this.weigh(child), left + 1];
    return { kept, small, left };
  }

  // Lays the children of `path` out; each box is { path, x, y, width, height, level }, and `left` counts those too small for one.
  layout(path, width, height) {
    this.boxes = [];
    const { kept, small, left } = this.children(path, width * height, MIN_PART);
    let rest = [small, left];
    for (const child of kept.splice(MAX_PARTS)) rest = [rest[0] + this.weigh(child), rest[1] + 1];
    const weights = kept.map((child) => this.weigh(child));
    if (rest[0] > 0) weights.push(Math.max(rest[0], (this.sumOf(weights) + rest[0]) * 0.004));
    const rectangles = squarify(weights, 0, 0, width, height);
    const top = kept.map((child, index) => this.box(child, rectangles[index], 0));
    const others = rest[0] > 0 ? { ...this.box(-1, rectangles.at(-1), 0), bytes: rest[0], count: rest[1] } : null;
    for (const box of top) this.fill(box);
    return { top, others };
  }

  sumOf(weights) {
    return weights.reduce((sum, weight) => sum + weight, 0);
  }

  box(path, [x, y, width, height], level) {
    const box = { path, x, y, width, height, level, open: false };
    this.boxes.push(box);
    return box;
  }

  // Lays out what a directory holds, inside of its frame.
  fill(box) {
    const { paths } = this;
    if (box.path < 0 || paths.end[box.path] === box.path + 1) return;
    const gap = box.level === 0 ? 3 : 1;
    const title = box.height > TITLE * 2 && box.width > 44 && box.level < 2 ? TITLE : gap;
    const [x, y] = [box.x + gap, box.y + title];
    const [width, height] = [box.width - 2 * gap, box.height - title - gap];
    if (width < 4 || height < 4) return;
    box.open = true;
    box.titled = title === TITLE;
    const { kept, small } = this.children(box.path, width * height, MIN_AREA);
    const weights = kept.map((child) => this.weigh(child));
    if (small > 0) weights.push(small);
    // The sum of small ones may be larger than the last: any order will do, the shapes are a little longer then.
    const rectangles = squarify(weights, x, y, width, height);
    kept.forEach((child, index) => this.fill(this.box(child, rectangles[index], box.level + 1)));
    if (small > 0) this.box(-1, rectangles.at(-1), box.level + 1);
  }

  // Returns the deepest box at a point.
  at(x, y) {
    return this.boxes.findLast((box) => box.path >= 0 && x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height);
  }

  draw(canvas, width, height) {
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const colors = new Map();
    const hatch = hatching(pen, color("hatch"));
    pen.textBaseline = "middle";
    for (const box of this.boxes) {
      const edge = box.level === 0 ? 1.5 : 0.5;
      const [x, y, w, h] = [box.x + edge, box.y + edge, box.width - 2 * edge, box.height - 2 * edge];
      if (w <= 0 || h <= 0) continue;
      const { name, hatched } = box.path < 0 ? { name: "rest" } : box.open ? { name: `frame-${Math.min(box.level, 2)}` } : this.paint(box.path);
      if (!colors.has(name)) colors.set(name, color(name));
      pen.fillStyle = colors.get(name);
      if (box.level < 2) {
        pen.beginPath();
        pen.roundRect(x, y, w, h, box.level === 0 ? 4 : 2);
        pen.fill();
      } else {
        pen.fillRect(x, y, w, h);
      }
      if (hatched) {
        pen.fillStyle = hatch;
        pen.fillRect(x, y, w, h);
      }
      if (box.level > 0 && box.path >= 0 && w > 36 && h > 15 && (!box.open || box.titled)) this.write(pen, box, color(box.open ? "soft" : "ink"));
    }
  }

  write(pen, box, color) {
    pen.font = `${box.open ? 500 : 400} 11px system-ui, sans-serif`;
    pen.fillStyle = color;
    const text = fitting(pen, this.paths.name(box.path).slice(0, 200), box.width - 11);
    if (text) pen.fillText(text, box.x + 6, box.y + (box.open ? 11 : Math.min(11, box.height / 2)));
  }
}

// Cuts a text to a width in pixels; one of which too little would be left is not shown.
function fitting(pen, text, width) {
  const full = pen.measureText(text).width;
  if (full <= width) return text;
  const kept = Math.floor((text.length * (width - 8)) / full);
  return kept < 4 ? "" : `${text.slice(0, kept)}…`;
}

function hatching(pen, color) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const lines = tile.getContext("2d");
  lines.strokeStyle = color;
  lines.lineWidth = 1.4;
  lines.beginPath();
  for (const shift of [-6, 0, 6]) {
    lines.moveTo(shift - 1, 7);
    lines.lineTo(shift + 7, -1);
  }
  lines.stroke();
  return pen.createPattern(tile, "repeat");
}
