// Images over the layers that they share: as a trunk that divides, or beyond a number of them as a matrix.

const MAX_GRAPH = 200;
const MATRIX_LAYERS = 32;

// Returns the images and their layers, each layer once with the images that have it.
function storeOf(report) {
  return report.keep("store", () => {
    const { head } = report;
    const layers = [];
    const numbers = new Map();
    const numberOf = (digest, size, text) => {
      if (!numbers.has(digest)) {
        numbers.set(digest, layers.length);
        layers.push({ digest, size, command: text, images: [] });
      }
      return numbers.get(digest);
    };
    const images = head.images.map((image, number) => ({
      name: shown(image.name),
      report: number,
      layers: image.layers.map((layer) => numberOf(head.layers[layer].digest, head.layers[layer].size, head.layers[layer].command)),
    }));
    for (const other of head.others) {
      images.push({ name: shown(other.name), report: -1, layers: other.layers.map((layer) => numberOf(head.shelf[layer][0], head.shelf[layer][1], "")) });
    }
    images.forEach((image, number) => {
      for (const layer of new Set(image.layers)) layers[layer].images.push(number);
    });
    for (const image of images) {
      image.size = image.layers.reduce((sum, layer) => sum + layers[layer].size, 0);
      image.alone = image.layers.reduce((sum, layer) => sum + (layers[layer].images.length === 1 ? layers[layer].size : 0), 0);
    }
    const stored = layers.reduce((sum, layer) => sum + layer.size, 0);
    const apart = images.reduce((sum, image) => sum + image.size, 0);
    return { images, layers, stored, apart };
  });
}

// Makes a tree of what images have in common from the lowest layer on; each branch is { layer, branches, ends }.
function trunkOf(store) {
  const root = { layer: -1, branches: new Map(), ends: [] };
  store.images.forEach((image, number) => {
    let at = root;
    for (const layer of image.layers) {
      if (!at.branches.has(layer)) at.branches.set(layer, { layer, branches: new Map(), ends: [] });
      at = at.branches.get(layer);
    }
    at.ends.push(number);
  });
  return root;
}

const storeView = {
  id: "store",
  label: "Store",
  picture(page) {
    const store = storeOf(page.report);
    const few = store.images.length + store.layers.length <= MAX_GRAPH;
    page.foot(make("p", { class: "note" }, few ? "Each box is a layer, as wide as its bytes and as high as the images that share it; layers that images share at their bottom are one trunk." : "Each square is a layer that images share, the most shared first."));
    return few ? trunk(page, store) : matrix(page, store);
  },
  table(page) {
    const store = storeOf(page.report);
    const { layers } = store;
    const saved = (layer) => (layers[layer].images.length - 1) * layers[layer].size;
    const columns = [
      { id: "digest", label: "Layer", wide: "minmax(9rem, 1fr)", value: (layer) => layers[layer].digest, cell: (layer) => isolated(layers[layer].digest, "path") },
      { id: "size", label: "Size", numeric: true, value: (layer) => layers[layer].size, cell: (layer) => human(layers[layer].size) },
      { id: "images", label: "Images", numeric: true, value: (layer) => layers[layer].images.length, cell: (layer) => number(layers[layer].images.length) },
      { id: "saved", label: "Saved", numeric: true, value: saved, cell: (layer) => human(saved(layer)) },
    ];
    const look = (layer) => page.lookAtShared(store, layer);
    return { label: "Layers of all images", columns, rows: layers.map((_, layer) => layer), sort: "saved.down", open: look, look };
  },
};

function openImage(page, store, number) {
  const { report } = store.images[number];
  if (report >= 0) page.state.go({ view: "map", image: report, layer: -1, path: 0 });
}

// Lays the trunk out: rows are images, boxes are layers.
function trunk(page, store) {
  const board = new Board("Images over their layers", {
    open: (part) => (part.image >= 0 ? openImage(page, store, part.image) : page.lookAtShared(store, part.layer)),
    look: (part) => {
      page.lookAtShared(store, part.layer, part.image);
      for (const other of board.parts) other.element.classList.toggle("same", part.layer >= 0 && other.layer === part.layer && other !== part);
    },
  });
  const element = make("div", { class: "list trunk" }, board.element);
  const resize = () => {
    const width = Math.max(element.clientWidth, 320);
    const names = Math.min(260, width * 0.36);
    const least = Math.max(...store.images.map((image) => image.layers.length * 12), 12);
    const most = Math.max(1, ...store.images.map((image) => image.size));
    const scale = Math.max(width - names - least - 24, 40) / most;
    const row = Math.min(44, Math.max(24, Math.floor((element.clientHeight - 8) / store.images.length)));
    const parts = [];
    let next = 0;
    const lay = (branch, x) => {
      for (const number of branch.ends) {
        parts.push(imagePart(store, number, x, next * row, names, row));
        next += 1;
      }
      for (const child of branch.branches.values()) {
        const begin = next;
        const wide = Math.max(12, 12 + store.layers[child.layer].size * scale);
        lay(child, x + wide);
        parts.push(layerPart(store, child.layer, x, begin * row, wide, (next - begin) * row));
      }
    };
    lay(trunkOf(store), 0);
    parts.sort((a, b) => a.y - b.y || a.x - b.x);
    const focused = element.contains(document.activeElement);
    const active = board.parts[board.active]?.id;
    board.element.replaceChildren();
    board.element.style.height = `${next * row}px`;
    board.show(parts, active);
    if (focused) board.focus();
  };
  return { element, resize, focus: () => board.focus() };
}

function imagePart(store, number, x, y, width, height) {
  const image = store.images[number];
  const element = make("div", { class: "image" }, isolated(image.name, "name"), make("span", { class: "size" }, human(image.size)));
  place(element, x + 6, y, width, height);
  const label = `Image ${image.name}, ${human(image.size)}, ${human(image.alone)} of it alone`;
  return { id: `image ${number}`, image: number, layer: -1, element, opens: image.report >= 0, label, x, y, width, height };
}

function layerPart(store, layer, x, y, width, height) {
  const { size, images, digest } = store.layers[layer];
  const element = make("div", { class: images.length > 1 ? "stone shared" : "stone" });
  if (width > 50) element.append(make("span", { class: "size" }, human(size)));
  place(element, x, y, width, height);
  const label = `Layer ${digest.slice(7, 19)}, ${human(size)}, in ${counted(images.length, "image")}`;
  return { id: `layer ${layer} ${y}`, image: -1, layer, element, opens: false, label, x, y, width, height };
}

// Shows images as rows of squares, one for each of the layers that are shared most.
function matrix(page, store) {
  const shared = store.layers.map((_, layer) => layer).filter((layer) => store.layers[layer].images.length > 1);
  shared.sort((a, b) => store.layers[b].images.length - store.layers[a].images.length || store.layers[b].size - store.layers[a].size);
  const columns = shared.slice(0, MATRIX_LAYERS);
  const squares = (number) => {
    const has = new Set(store.images[number].layers);
    const out = make("span", { class: "squares", role: "img", "aria-label": `${columns.filter((layer) => has.has(layer)).length} of the ${columns.length} most shared layers` });
    for (const layer of columns) out.append(make("span", { class: has.has(layer) ? "square full" : "square" }));
    return out;
  };
  const { images } = store;
  const table = {
    label: "Images over the layers that they share",
    columns: [
      { id: "name", label: "Image", wide: "minmax(8rem, 1fr)", value: (image) => images[image].name, cell: (image) => isolated(images[image].name, "path") },
      { id: "shared", label: "Shared layers", wide: `${columns.length * 11 + 16}px`, optional: true, value: (image) => images[image].layers.length, cell: squares },
      { id: "size", label: "Size", numeric: true, value: (image) => images[image].size, cell: (image) => human(images[image].size) },
      { id: "alone", label: "Alone", numeric: true, value: (image) => images[image].alone, cell: (image) => human(images[image].alone) },
    ],
    rows: images.map((_, image) => image),
    sort: "name.up",
    open: (image) => openImage(page, store, image),
    look: (image) => page.lookAtShared(store, -1, image),
  };
  return page.grid(table);
}
