// SPDX-License-Identifier: Apache-2.0
// Contrast of the texts of a page with their grounds, as WCAG has it. Runs in the page.

export function contrasts() {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  // The bytes of a color over others, whatever form it is written in.
  const over = (colors) => {
    pen.clearRect(0, 0, 1, 1);
    for (const color of colors) {
      pen.fillStyle = color;
      pen.fillRect(0, 0, 1, 1);
    }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (bytes) => {
    const [r, g, b] = bytes.map((byte) => (byte / 255 <= 0.04045 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const root = getComputedStyle(document.documentElement);
  const variable = (name) => root.getPropertyValue(`--${name}`).trim();
  const grounds = (element) => {
    // Labels of a treemap stand on what the canvas below them has: a frame, or the color of a layer or a fate.
    if (element.closest(".treemap .part")) {
      const names = ["rest", "frame-0", ...[...Array(8).keys()].map((n) => `layer-${n}`), ...[...Array(4).keys()].map((n) => `fate-${n}`)];
      const opens = element.closest("[aria-expanded]");
      const leaf = element.closest(".leaf");
      return (opens ? ["frame-0"] : leaf || element.className !== "size" ? names : ["rest"]).map((name) => [variable(name)]);
    }
    const colors = [];
    for (let at = element; at; at = at.parentElement) {
      if (at.tagName === "DIALOG") break;
      colors.unshift(getComputedStyle(at).backgroundColor);
    }
    return [["white", ...colors]];
  };
  const bad = [];
  let count = 0;
  for (const element of document.querySelectorAll("body *")) {
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3 && node.textContent.trim());
    if (!texts.length || !element.checkVisibility() || element.tagName === "OPTION") continue;
    const color = getComputedStyle(element).color;
    for (const ground of grounds(element)) {
      const found = ratio(over([...ground, color]), over(ground));
      count += 1;
      if (found < 4.5) bad.push(`${found.toFixed(2)} ${element.className || element.tagName} “${element.textContent.slice(0, 30)}” on ${ground.at(-1)}`);
    }
  }
  // Texts that are drawn: names of files and of directories.
  for (const [text, names] of [["ink", ["layer-0", "layer-1", "layer-2", "layer-3", "layer-4", "layer-5", "layer-6", "layer-7", "fate-1", "fate-2", "fate-3"]], ["soft", ["frame-0", "frame-1", "frame-2"]]]) {
    for (const name of names) {
      const found = ratio(over([variable(text)]), over([variable(name)]));
      count += 1;
      if (found < 4.5) bad.push(`${found.toFixed(2)} --${text} on --${name}`);
    }
  }
  // Bars and edges that mean something need 3:1.
  for (const name of ["side-a", "side-b", "accent", "strong"]) {
    const found = ratio(over([variable(name)]), over([variable("paper")]));
    if (found < 3) bad.push(`${found.toFixed(2)} --${name} on --paper`);
  }
  return { bad, count };
}
