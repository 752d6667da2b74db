// A picture whose parts are reached by the keyboard: a tree of one level, in which arrows go to the nearest part.

class Board {
  // `open` gets a part that Enter or a click goes into, `look` the part that has the focus or the pointer.
  constructor(label, { open, look }) {
    this.element = make("div", { class: "board", role: "tree", "aria-label": label });
    this.open = open;
    this.look = look;
    this.parts = [];
    this.active = 0;
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("focusin", (event) => this.focused(event));
    this.element.addEventListener("click", (event) => {
      const part = this.partOf(event.target);
      if (part) this.open(part);
    });
    this.element.addEventListener("pointerover", (event) => {
      const part = this.partOf(event.target);
      if (part) this.look(part);
    });
  }

  // Shows parts { id, element, label, x, y, width, height, opens }; the one called `id` can be reached by Tab.
  show(parts, id) {
    this.parts = parts;
    this.active = Math.max(0, parts.findIndex((part) => part.id === id));
    parts.forEach((part, index) => {
      const { element } = part;
      element.classList.add("part");
      element.setAttribute("role", "treeitem");
      element.setAttribute("aria-label", part.label);
      element.setAttribute("aria-level", "1");
      element.setAttribute("aria-posinset", String(index + 1));
      element.setAttribute("aria-setsize", String(parts.length));
      if (part.opens) element.setAttribute("aria-expanded", "false");
      element.tabIndex = index === this.active ? 0 : -1;
      element.dataset.part = String(index);
      this.element.append(element);
    });
  }

  partOf(target) {
    const element = target.closest?.("[data-part]");
    return element ? this.parts[Number(element.dataset.part)] : undefined;
  }

  focus() {
    this.parts[this.active]?.element.focus();
  }

  focused(event) {
    const part = this.partOf(event.target);
    if (!part) return;
    this.parts[this.active].element.tabIndex = -1;
    this.active = this.parts.indexOf(part);
    part.element.tabIndex = 0;
    this.look(part);
  }

  key(event) {
    const part = this.partOf(event.target);
    if (!part || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = this.target(event.key, part);
    if (to) to.element.focus();
    else if (event.key === "Enter" || event.key === " ") this.open(part);
    else if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation();
  }

  target(key, part) {
    switch (key) {
      case "Home":
        return this.parts[0];
      case "End":
        return this.parts.at(-1);
      case "ArrowLeft":
        return this.nearest(part, -1, 0);
      case "ArrowRight":
        return this.nearest(part, 1, 0);
      case "ArrowUp":
        return this.nearest(part, 0, -1);
      case "ArrowDown":
        return this.nearest(part, 0, 1);
      default:
        return undefined;
    }
  }

  // Returns the part that is nearest in a direction: beyond the edge, and as little to the side as possible.
  nearest(from, dx, dy) {
    let best;
    let least = Infinity;
    for (const part of this.parts) {
      const gapX = dx > 0 ? part.x - (from.x + from.width) : from.x - (part.x + part.width);
      const gapY = dy > 0 ? part.y - (from.y + from.height) : from.y - (part.y + part.height);
      const gap = dx ? gapX : gapY;
      if (part === from || gap < -2) continue;
      const aside = dx ? outside(from.y, from.height, part.y, part.height) : outside(from.x, from.width, part.x, part.width);
      const middle = dx ? Math.abs(from.y + from.height / 2 - part.y - part.height / 2) : Math.abs(from.x + from.width / 2 - part.x - part.width / 2);
      const distance = Math.max(gap, 0) + 8 * aside + middle / 64;
      if (distance < least) [best, least] = [part, distance];
    }
    return best;
  }
}

// Returns how far apart two spans are.
function outside(a, aLength, b, bLength) {
  return Math.max(0, b - (a + aLength), a - (b + bLength));
}

// Puts an element at a place of its picture, in pixels.
function place(element, x, y, width, height) {
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
  return element;
}
