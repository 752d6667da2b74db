// A sortable table of any length, of which only the rows in sight are in the page.

const ROW = 32;
// Browsers draw no element that is much higher; beyond it the bar moves over the rows in larger steps.
const MAX_HEIGHT = 15_000_000;

class Table {
  // Columns are { id, label, numeric, wide, value(row), cell(row) }: a key to sort by; text or an element to show.
  constructor(label, { columns, rows, sort, sorted, open, look, active }) {
    Object.assign(this, { columns, open, look });
    this.rows = this.ordered(rows, sort);
    this.active = Math.max(0, this.rows.indexOf(active));
    this.element = make("div", { class: "grid", role: "grid", "aria-label": label, "aria-rowcount": this.rows.length + 1, tabindex: 0 });
    const head = make("div", { class: "row head-row", role: "row", "aria-rowindex": 1 });
    for (const column of columns) head.append(this.header(column, sort, sorted));
    this.body = make("div", { class: "rows", role: "rowgroup" });
    this.scroller = make("div", { class: "scroller" }, this.body);
    this.element.append(head, this.scroller);
    if (this.rows.length === 0) this.scroller.append(make("p", { class: "empty" }, "Nothing to show here."));
    this.height = Math.min(this.rows.length * ROW, MAX_HEIGHT);
    this.body.style.height = `${this.height}px`;
    this.element.style.setProperty("--columns", columns.map((column) => column.wide ?? "7rem").join(" "));
    this.scroller.addEventListener("scroll", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("focus", () => this.lookAt(this.active));
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("[data-row]");
      if (!row) return;
      this.lookAt(Number(row.dataset.row));
      this.open(this.rows[this.active]);
    });
  }

  header(column, sort, sorted) {
    const [by, way] = sort.split(".");
    const is = by === column.id;
    const button = make("button", { type: "button", class: "sort" }, column.label);
    button.addEventListener("click", () => {
      const first = column.numeric ? "down" : "up";
      sorted(`${column.id}.${is && way === first ? (first === "up" ? "down" : "up") : first}`);
    });
    const state = is ? (way === "up" ? "ascending" : "descending") : "none";
    return make("div", { class: column.numeric ? "cell n" : "cell", role: "columnheader", "aria-sort": state, "data-column": column.id }, button);
  }

  ordered(rows, sort) {
    const [by, way] = sort.split(".");
    const column = this.columns.find((candidate) => candidate.id === by);
    if (!column) return Array.from(rows);
    const keys = Array.from(rows, (row) => column.value(row));
    const order = Uint32Array.from(keys, (_, index) => index);
    const sign = way === "up" ? 1 : -1;
    if (typeof keys[0] === "string") order.sort((a, b) => sign * (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0) || a - b);
    else order.sort((a, b) => sign * (keys[a] - keys[b]) || a - b);
    return Array.from(order, (index) => rows[index]);
  }

  // Pixels from one row to the next on the bar, which are fewer than those of a row in very long tables.
  get step() {
    return this.rows.length ? this.height / this.rows.length : ROW;
  }

  draw() {
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / this.step) - 4);
    const last = Math.min(this.rows.length, Math.floor(scrollTop / this.step) + Math.ceil(clientHeight / ROW) + 4);
    const offset = scrollTop - (scrollTop / this.step) * ROW;
    const rows = [];
    for (let index = first; index < last; index += 1) {
      const row = make("div", { class: "row", role: "row", id: `row-${index}`, "aria-rowindex": index + 2, "data-row": index });
      if (index === this.active) {
        row.classList.add("active");
        row.setAttribute("aria-selected", "true");
      }
      row.style.transform = `translateY(${offset + index * ROW}px)`;
      for (const column of this.columns) {
        row.append(make("div", { class: column.numeric ? "cell n" : "cell", role: "gridcell" }, column.cell(this.rows[index])));
      }
      rows.push(row);
    }
    this.body.replaceChildren(...rows);
    const seen = this.active >= first && this.active < last;
    if (seen) this.element.setAttribute("aria-activedescendant", `row-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  focus() {
    this.element.focus();
  }

  lookAt(index) {
    if (!this.rows.length) return;
    this.active = Math.min(Math.max(index, 0), this.rows.length - 1);
    const top = this.active * this.step;
    const room = this.scroller.clientHeight - ROW;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top > this.scroller.scrollTop + (room * this.step) / ROW) this.scroller.scrollTop = top - (room * this.step) / ROW;
    this.draw();
    this.look(this.rows[this.active]);
  }

  key(event) {
    if (event.target !== this.element || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 1);
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.lookAt(this.active + steps[event.key]);
    else if (event.key === "Enter" && this.rows.length) this.open(this.rows[this.active]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
