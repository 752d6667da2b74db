// Texts of images on their way to the page: never markup, and nothing in them hides or turns text.

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// Characters without a shape, and those that change the direction of text; the table in the markup has the same list.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

function shown(text) {
  return text.replace(HIDDEN, (c) => `\\u{${c.charCodeAt(0).toString(16)}}`);
}

// Decodes a name; bytes that are no UTF-8 become \xNN.
function decodeName(bytes) {
  try {
    return shown(utf8.decode(bytes));
  } catch {
    return decodeParts(bytes);
  }
}

function decodeParts(bytes) {
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const lead = bytes[at];
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    try {
      out += shown(utf8.decode(bytes.subarray(at, at + length)));
      at += length;
    } catch {
      out += `\\x${lead.toString(16).padStart(2, "0")}`;
      at += 1;
    }
  }
  return out;
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

// Returns a size with three digits, such as 12.3 MB.
function human(bytes) {
  let unit = 0;
  let value = Math.abs(bytes);
  while (value >= 999.5 && unit + 1 < UNITS.length) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${bytes < 0 ? "−" : ""}${value.toFixed(digits)} ${UNITS[unit]}`;
}

const grouped = new Intl.NumberFormat("en");

function number(value) {
  return grouped.format(value);
}

function counted(value, noun) {
  return `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
}

function percent(part, whole) {
  if (!whole || !part) return "0 %";
  const value = (100 * part) / whole;
  return `${value > 0 && value < 0.1 ? "< 0.1" : value.toFixed(value < 9.95 ? 1 : 0)} %`;
}

// Returns a step of a build without the shell around it.
function command(text) {
  const short = text.replace(/^\/bin\/sh -c (#\(nop\)\s*)?/, "").replace(/\s+#\s*buildkit$/, "");
  return shown(short.replace(/\s+/g, " ").trim()) || "no command recorded";
}

// Makes an element; texts become text nodes.
function make(tag, attributes = {}, ...children) {
  const out = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") out.className = value;
    else if (value !== false && value != null) out.setAttribute(name, value === true ? "" : value);
  }
  out.append(...children);
  return out;
}

// Makes an element for a text of an image, whose direction stays its own.
function isolated(text, className = "") {
  return make("bdi", { class: className, title: text }, text);
}
