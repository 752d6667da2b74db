// The data of the report as arrays; their form is documented beside the code that writes them (inside/report/mod.rs).

const KINDS = ["file", "directory", "symbolic link", "hard link", "character device", "block device", "FIFO", "socket", "whiteout", "opaque directory"];
const DIRECTORY = 1;
const HARD_LINK = 3;
const WHITEOUT = 8;
const BLOCK = 512;

async function unpackData(text) {
  const binary = atob(text.trim());
  const packed = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) packed[at] = binary.charCodeAt(at);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function readColumns(bytes) {
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const columns = {};
  let at = 4 + length;
  for (const [name, size] of head.columns) {
    columns[name] = bytes.subarray(at, at + size);
    at += size;
  }
  return { head, columns };
}

// Decodes LEB128 numbers into `out`, an array of any type.
function decodeNumbers(bytes, out) {
  let at = 0;
  for (let index = 0; index < out.length; index += 1) {
    let byte = bytes[at++];
    let value = byte & 0x7f;
    for (let scale = 128; byte & 0x80; scale *= 128) {
      byte = bytes[at++];
      value += (byte & 0x7f) * scale;
    }
    out[index] = value;
  }
  return out;
}

// The tree of all paths in preorder: path 0 is the root, and those below path i are i+1 to end[i].
function readPaths(head, columns) {
  const count = head.paths;
  const nameAt = new Uint32Array(count + 1);
  const same = decodeNumbers(columns.same, new Uint8Array(count - 1));
  const names = new Uint8Array(columns.names.length + same.reduce((sum, bytes) => sum + bytes, 0));
  const parent = new Int32Array(count);
  const depth = new Int32Array(count);
  const end = new Int32Array(count);
  const up = decodeNumbers(columns.up, new Uint32Array(count - 1));
  const stack = [0];
  parent[0] = -1;
  let [at, from] = [0, 0];
  for (let path = 1; path < count; path += 1) {
    const level = depth[path - 1] + 1 - up[path - 1];
    nameAt[path] = at;
    const sibling = nameAt[stack[level]];
    for (let left = same[path - 1]; left > 0; left -= 1) names[at] = names[sibling + at - nameAt[path]], at += 1;
    while ((names[at++] = columns.names[from++]) !== 0);
    depth[path] = level;
    parent[path] = stack[level - 1];
    stack[level] = path;
  }
  nameAt[count] = at;
  for (let path = count - 1; path >= 0; path -= 1) {
    end[path] = Math.max(end[path], path + 1);
    if (path > 0) end[parent[path]] = Math.max(end[parent[path]], end[path]);
  }
  return { count, names, nameAt, parent, depth, end };
}

// The entries of all layers; those of layer i are starts[i] to starts[i + 1].
function readEntries(head, columns) {
  const starts = [0];
  for (const layer of head.layers) starts.push(starts.at(-1) + layer.entries);
  const count = starts.at(-1);
  const node = decodeNumbers(columns.node, new Int32Array(count));
  const size = decodeNumbers(columns.size2, new Float64Array(count));
  const tar = decodeNumbers(columns.blocks, new Float64Array(count));
  const packed = new Float64Array(count);
  const { kind } = columns;
  head.layers.forEach((layer, number) => {
    const share = layer.tar > 0 ? layer.size / layer.tar : 0;
    let last = 0;
    for (let entry = starts[number]; entry < starts[number + 1]; entry += 1) {
      last = node[entry] += last;
      size[entry] = size[entry] * 65536 + columns.size1[entry] * 256 + columns.size0[entry];
      const zigzag = tar[entry];
      const above = zigzag % 2 ? -(zigzag + 1) / 2 : zigzag / 2;
      const content = kind[entry] === 0 ? Math.ceil(size[entry] / BLOCK) : 0;
      tar[entry] = BLOCK * (1 + content + above);
      packed[entry] = tar[entry] * share;
    }
  });
  return {
    count,
    starts,
    node,
    kind,
    size,
    tar,
    packed,
    content: decodeNumbers(columns.content, new Uint32Array(count)),
    meta: decodeNumbers(columns.meta, new Uint32Array(count)),
  };
}

function readFates(head, columns) {
  let count = 0;
  for (const image of head.images) count += image.hidden;
  return {
    at: decodeNumbers(columns.at, new Uint32Array(count)),
    fate: columns.fate,
    by: decodeNumbers(columns.by, new Uint32Array(count)),
  };
}
