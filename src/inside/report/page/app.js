// The page: what stands around the view, keys, and the way from one state to the next.

const ALL_VIEWS = { map: mapView, layers: layersView, waste: wasteView, difference: differenceView, store: storeView };
const KEYS = [
  ["1 – 5", "the views"],
  ["Arrows", "move between parts or rows"],
  ["Enter", "goes into a directory, a layer or an image"],
  ["Backspace", "goes out again"],
  ["Tab", "goes on to the next control"],
  ["t", "picture or table"],
  ["b", "unpacked or compressed bytes"],
  ["/", "filters by name; Escape ends it"],
  ["[ and ]", "the image before and after"],
  ["x", "swaps A and B of a difference"],
  ["?", "this help"],
];

const FATE_VERBS = ["", "replaced by", "the same again in", "removed by"];

const byId = (id) => document.getElementById(id);

class Page {
  constructor(report) {
    this.report = report;
    this.from = undefined;
    this.looked = undefined;
    this.state = new State(report, () => this.render());
    this.views = VIEWS.filter((view) => this.state.offers(view)).map((view) => ALL_VIEWS[view]);
    this.makeTabs();
    this.makeTools();
    this.makeHelp();
    document.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.resize()).observe(byId("stage"));
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", () => this.resize());
  }

  get now() {
    return this.state.now;
  }

  get image() {
    return this.report.images[this.now.image];
  }

  get other() {
    return this.report.images[this.now.b];
  }

  // Bytes of entries in a layer: directories and links have headers there, and files that are hidden count.
  tarMeasure() {
    return this.now.measure === "packed" ? "packed" : "tar";
  }

  measureName() {
    return this.now.measure === "packed" ? "Compressed" : "In the tar";
  }

  sums(measure = this.now.measure) {
    return this.report.sums(this.image, measure, this.now.view === "map" ? this.now.layer : -1, this.now.query);
  }

  difference() {
    return this.report.difference(this.image, this.other, this.now.measure, this.now.query);
  }

  nothing() {
    if (this.now.query) return `Nothing here has “${shown(this.now.query)}” in its name.`;
    return this.now.view === "waste" ? "No hidden bytes here." : "Nothing here takes any bytes.";
  }

  makeTabs() {
    this.views.forEach((view) => {
      const tab = make("button", { type: "button", role: "tab", id: `tab-${view.id}`, "aria-controls": "main", "aria-keyshortcuts": String(VIEWS.indexOf(view.id) + 1) }, view.label);
      tab.addEventListener("click", () => this.state.go({ view: view.id }));
      byId("tabs").append(tab);
    });
    byId("tabs").addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      const tabs = [...byId("tabs").children];
      const to = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
      to.focus();
      to.click();
      event.preventDefault();
    });
  }

  makeTools() {
    const images = this.report.images.map((image, number) => make("option", { value: number }, shown(image.head.name)));
    const copies = images.map((option) => option.cloneNode(true));
    this.tools = {
      image: this.choice("Image", images, (value) => this.state.go({ image: value, layer: -1 })),
      b: this.choice("B", copies, (value) => this.state.go({ b: value })),
      swap: this.button("Swap", "Swap A and B", "x", () => this.swap()),
      layer: this.choice("Layer", [], (value) => this.state.go({ layer: value })),
      table: this.button("Table", "Show as a table", "t", () => this.state.go({ table: !this.now.table })),
      measure: this.button("Compressed", "Count compressed bytes", "b", () => this.turn()),
      filter: make("input", { type: "search", placeholder: "Filter  /", "aria-label": "Filter by name", "aria-keyshortcuts": "/", spellcheck: "false", autocomplete: "off" }),
      help: this.button("?", "Keys", "?", () => byId("help").showModal()),
    };
    const { filter } = this.tools;
    filter.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.state.go({ query: filter.value }, this.now.query !== ""), 120);
    });
    filter.addEventListener("keydown", (event) => this.filterKey(event));
    byId("tools").append(...Object.values(this.tools).map((tool) => tool.holder ?? tool));
  }

  choice(label, options, chosen) {
    const select = make("select", {}, ...options);
    const caption = make("span", {}, label);
    select.addEventListener("change", () => chosen(Number(select.value)));
    return Object.assign(select, { holder: make("label", { class: "choice" }, caption, select), caption });
  }

  button(text, label, key, pressed) {
    const out = make("button", { type: "button", class: "button", "aria-label": label, title: `${label} (${key})`, "aria-keyshortcuts": key }, text);
    out.addEventListener("click", pressed);
    return out;
  }

  makeHelp() {
    for (const [key, text] of KEYS) byId("keys").append(make("div", {}, make("dt", {}, key), make("dd", {}, text)));
  }

  filterKey(event) {
    if (event.key !== "Escape" && event.key !== "Enter") return;
    clearTimeout(this.typing);
    if (event.key === "Escape") this.tools.filter.value = "";
    const query = this.tools.filter.value;
    this.focusNext = true;
    if (query === this.now.query) this.current.focus();
    else this.state.go({ query }, true);
    event.preventDefault();
    event.stopPropagation();
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, dialog[open]")) return;
    const view = VIEWS[Number(event.key) - 1];
    if (this.views.some((candidate) => candidate.id === view)) this.state.go({ view });
    else if (event.key in this.keys) this.keys[event.key]();
    else return;
    event.preventDefault();
  }

  keys = {
    t: () => this.state.go({ table: !this.now.table }),
    b: () => this.turn(),
    x: () => this.swap(),
    "/": () => this.tools.filter.focus(),
    "?": () => byId("help").showModal(),
    "[": () => this.step(-1),
    "]": () => this.step(1),
    Backspace: () => this.out(),
    Escape: () => this.state.go({ query: "" }),
  };

  turn() {
    this.state.go({ measure: this.now.measure === "packed" ? "size" : "packed" });
  }

  swap() {
    if (this.now.view === "difference") this.state.go({ image: this.now.b, b: this.now.image });
  }

  step(by) {
    const image = this.now.image + by;
    if (image >= 0 && image < this.report.images.length) this.state.go({ image, layer: -1 });
  }

  // Goes into a directory; any other path is only looked at.
  enter(path) {
    if (path < 0) return this.state.go({ table: true });
    const { paths } = this.report;
    if (paths.end[path] === path + 1) return this.look(path);
    this.from = undefined;
    this.focusNext = true;
    return this.state.go({ path });
  }

  out() {
    const { path, layer, view } = this.now;
    this.focusNext = true;
    if (path > 0 && view !== "store") {
      this.from = path;
      this.state.go({ path: this.report.paths.parent[path] });
    } else if (view === "map" && layer >= 0) {
      this.state.go({ view: "layers", layer: -1 });
    }
  }

  render() {
    const focused = byId("stage").contains(document.activeElement) || this.focusNext;
    this.focusNext = false;
    this.looked = undefined;
    const view = ALL_VIEWS[this.now.view];
    this.showHead();
    this.showTools(view);
    this.showCrumbs();
    byId("foot").replaceChildren();
    byId("detail").replaceChildren();
    this.current = this.now.table ? this.grid(view.table(this)) : view.picture(this);
    byId("stage").replaceChildren(this.current.element);
    this.current.resize();
    this.detailOf();
    if (focused) this.current.focus();
  }

  resize() {
    this.current?.resize();
  }

  grid(table) {
    const sort = this.now.sort && table.columns.some((column) => column.id === this.now.sort.split(".")[0]) ? this.now.sort : table.sort;
    // A narrow window shows the columns that matter most.
    const columns = table.columns.filter((column) => !column.optional || byId("stage").clientWidth > 760);
    const sorted = (by) => {
      this.sortedBy = by.split(".")[0];
      this.state.go({ sort: by }, true);
    };
    const made = new Table(table.label, { ...table, columns, sort, sorted, active: this.from });
    const by = this.sortedBy;
    this.sortedBy = undefined;
    return {
      element: made.element,
      resize: () => made.draw(),
      focus: () => (by ? made.element.querySelector(`[data-column=${by}] button`).focus() : made.focus()),
    };
  }

  showHead() {
    const { image, now } = this;
    const { head } = this.report;
    const images = head.images.length + head.others.length;
    const store = now.view === "store";
    const title = store || !image ? counted(images, "image") : shown(image.head.name);
    byId("title").replaceChildren(isolated(title), ...(now.view === "difference" ? [" → ", isolated(shown(this.other.head.name))] : []));
    byId("kicker").textContent = { map: "Contents of an image", layers: "Layers of an image", waste: "Waste of an image", difference: "Difference of two images", store: "Images over their layers" }[now.view];
    const meta = store || !image ? "" : [image.head.platform, image.head.digest.slice(0, 19), counted(image.layers.length, "layer")].filter(Boolean).join("  ·  ");
    byId("meta").textContent = shown(meta);
    if (image) byId("meta").title = image.head.digest;
    const figures = this.figures();
    byId("figures").replaceChildren(...figures.map(([label, value]) => make("div", {}, make("dt", {}, label), make("dd", {}, value))));
    const unseen = store ? [] : (image?.head.unseen ?? []);
    byId("unseen").hidden = unseen.length === 0;
    byId("unseen").textContent = unseen.map(([layer, why]) => `Layer ${layer + 1} could not be read, and counts as empty: ${shown(why)}`).join(". ");
  }

  figures() {
    const { image, now, report } = this;
    if (now.view === "store") {
      const store = storeOf(report);
      return [["Layers", number(store.layers.length)], ["Stored", human(store.stored)], ["Saved by sharing", human(store.apart - store.stored)]];
    }
    if (now.view === "difference") {
      const found = this.difference();
      return [["Changes", number(found.changes[0])], ["A", human(found.allA[0])], ["B", human(found.allB[0])], ["B − A", signed(found.allB[0] - found.allA[0])]];
    }
    const whole = report.sums(image, "size", -1, "");
    const { total } = report.fateSums(image, "tar", 0, "");
    const blobs = image.layers.reduce((sum, _, layer) => sum + image.layer(layer).size, 0);
    return [["Unpacked", human(whole.live[0])], ["Compressed", human(blobs)], ["Files", number(whole.files[0])], ["Efficiency", percent(total[LIVE], total.reduce((a, b) => a + b))]];
  }

  showTools(view) {
    const { tools, now, image } = this;
    for (const tab of byId("tabs").children) {
      const selected = tab.id === `tab-${view.id}`;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
    }
    byId("main").setAttribute("aria-labelledby", `tab-${view.id}`);
    const two = view.id === "difference";
    tools.image.holder.hidden = this.report.images.length < 2 || view.id === "store";
    tools.image.caption.textContent = two ? "A" : "Image";
    tools.b.holder.hidden = tools.swap.hidden = !two;
    tools.layer.holder.hidden = view.id !== "map" || image.layers.length < 2;
    tools.measure.hidden = tools.filter.hidden = view.id === "store";
    tools.image.value = String(now.image);
    tools.b.value = String(now.b);
    if (view.id === "map") {
      const options = image.layers.map((_, layer) => make("option", { value: layer }, `${layer + 1}  ${command(image.layer(layer).command).slice(0, 60)}`));
      tools.layer.replaceChildren(make("option", { value: -1 }, "all"), ...options);
      tools.layer.value = String(now.layer);
    }
    tools.table.setAttribute("aria-pressed", String(now.table));
    tools.measure.setAttribute("aria-pressed", String(now.measure === "packed"));
    if (document.activeElement !== tools.filter) tools.filter.value = now.query;
  }

  showCrumbs() {
    const { paths } = this.report;
    const steps = [];
    if (this.now.view !== "store") for (let at = this.now.path; at >= 0; at = paths.parent[at]) steps.unshift(at);
    const list = make("ol", {});
    const far = steps.length > 12 ? [...steps.slice(0, 4), -1, ...steps.slice(-7)] : steps;
    for (const step of far) {
      if (step < 0) {
        list.append(make("li", {}, "…"));
        continue;
      }
      const here = step === this.now.path;
      const button = make("button", { type: "button", "aria-current": here ? "location" : null, "aria-label": step === 0 ? "Root" : null }, isolated(paths.name(step)));
      button.addEventListener("click", () => {
        this.from = this.now.path;
        this.state.go({ path: step });
      });
      list.append(make("li", {}, button));
    }
    byId("crumbs").replaceChildren(list);
    byId("sum").textContent = this.now.query ? `filtered by “${shown(this.now.query)}”` : "";
  }

  foot(element) {
    byId("foot").replaceChildren(element);
  }

  // Details of what is shown as a whole, until a part of it is looked at.
  detailOf() {
    if (this.looked !== undefined) return;
    if (this.now.view === "store") this.lookAtShared(storeOf(this.report), -1, 0);
    else if (this.now.view === "layers") this.lookAtLayer(0);
    else this.look(this.now.path);
  }

  look(path) {
    if (this.looked === path) return;
    this.looked = path;
    const { paths } = this.report;
    const { image, now, report } = this;
    const parts = [make("h2", {}, isolated(paths.name(path))), make("p", { class: "full" }, path === 0 ? "the whole tree" : isolated(paths.full(path)))];
    if (now.view === "difference") {
      const found = this.difference();
      const facts = [["A", human(found.allA[path])], ["B", human(found.allB[path])], ["Changes", number(found.changes[path])]];
      parts.push(this.facts(facts), this.history(image, path, "In A"), this.history(this.other, path, "In B"));
    } else {
      const [size, packed] = [this.sums("size"), this.sums("packed")];
      const facts = [["Unpacked", human(size.live[path])], ["Compressed", human(packed.live[path])], ["Files", number(size.files[path])]];
      if (packed.hidden[path] > 0) facts.push(["Hidden, compressed", human(packed.hidden[path])]);
      parts.push(this.facts(facts), this.history(image, path, "In the layers"));
    }
    byId("detail").replaceChildren(...parts);
  }

  facts(list) {
    return make("dl", { class: "facts" }, ...list.map(([label, value]) => make("div", {}, make("dt", {}, label), make("dd", {}, value))));
  }

  // Tells which layers have a path, and what became of their entries.
  history(image, path, title) {
    const { entries } = this.report;
    const list = make("ol", { class: "history" });
    for (const { entry, layer, fate, by } of image.history(path)) {
      const kind = entries.kind[entry];
      const bytes = kind === 0 ? `, ${human(entries.size[entry])}` : "";
      const text = `${KINDS[kind]}${bytes}${fate ? `, ${FATE_VERBS[fate]} layer ${by + 1}` : ""}`;
      list.append(make("li", { class: fate ? "gone" : "" }, badge(layer), make("span", {}, text)));
    }
    if (!list.children.length) list.append(make("li", {}, image.load().there[path] ? "a directory without an entry" : "not there"));
    return make("div", {}, make("h3", {}, title), list);
  }

  lookAtLayer(layer) {
    this.looked = -1;
    const { image } = this;
    const of = image.layer(layer);
    const { layers } = this.report.fateSums(image, "tar", 0, "");
    const facts = [["Blob", human(of.size)], ["Tar", human(of.tar)], ["Entries", number(of.entries)]];
    layers[layer].forEach((bytes, fate) => (fate === LIVE || bytes > 0) && facts.push([FATES[fate][0].toUpperCase() + FATES[fate].slice(1), human(bytes)]));
    byId("detail").replaceChildren(make("h2", {}, `Layer ${layer + 1}`), make("p", { class: "full" }, isolated(command(of.command))), this.facts(facts), make("h3", {}, "Digest"), make("p", { class: "full" }, isolated(of.digest)), ...(of.created ? [make("h3", {}, "Created"), make("p", {}, isolated(shown(of.created)))] : []));
  }

  lookAtShared(store, layer, number = -1) {
    this.looked = -1;
    if (layer >= 0) {
      const of = store.layers[layer];
      const names = of.images.slice(0, 24).map((at) => make("li", {}, isolated(store.images[at].name)));
      if (of.images.length > 24) names.push(make("li", {}, `and ${of.images.length - 24} more`));
      byId("detail").replaceChildren(make("h2", {}, "Layer"), make("p", { class: "full" }, isolated(of.digest)), make("p", { class: "full" }, isolated(of.command ? command(of.command) : "")), this.facts([["Size", human(of.size)], ["Images", String(of.images.length)]]), make("h3", {}, "Images"), make("ul", { class: "history" }, ...names));
    } else if (store.images[number]) {
      const of = store.images[number];
      byId("detail").replaceChildren(make("h2", {}, isolated(of.name)), this.facts([["Size", human(of.size)], ["Alone", human(of.alone)], ["Shared", human(of.size - of.alone)], ["Layers", String(of.layers.length)]]));
    }
  }
}

async function start() {
  const report = new ReportModel(await unpackData(byId("data").textContent));
  byId("data").remove();
  byId("app").hidden = false;
  byId("plain").classList.add("ready");
  new Page(report).render();
  // The second frame begins once the first one is on the screen.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }));
}

start().catch((err) => {
  byId("app").hidden = true;
  byId("plain").className = "plain failed";
  byId("plain-why").textContent = `The pictures could not be drawn: ${err.message}. The 100 largest files are:`;
});
