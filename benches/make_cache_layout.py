# SPDX-License-Identifier: Apache-2.0
"""Makes an OCI layout that looks like the cache of a builder of many images: many small images on few shared bases.

usage: python3 make_cache_layout.py DIR IMAGES [--layers N] [--untagged FRACTION] [--seed WORD]

Each image has a manifest, a config with true diff_ids and history, and layers: the first third are those of one of 20
bases, the rest its own. Image number I is tagged `image-I`. The share that --untagged leaves out of index.json is
garbage, spread evenly, with all that no tagged image has. Same arguments, same bytes. Nothing is compressed, since no
two compressors agree on the bytes: a layer is one stored deflate block in a gzip member. One line of JSON tells what
was made.
"""
import argparse, hashlib, json, os, struct, zlib

BASES = 20
TIME = 1_600_000_000
CREATED = "2020-09-13T12:26:40Z"
TYPE = "application/vnd.oci.image."


def tar_header(name, size):
    """A ustar header of a regular file."""
    fields = [
        (name.encode(), 100), (b"0000644", 8), (b"0000000", 8), (b"0000000", 8), (b"%011o" % size, 12),
        (b"%011o" % TIME, 12), (b" " * 8, 8), (b"0", 1), (b"", 100), (b"ustar\0" b"00", 8), (b"root", 32),
        (b"root", 32), (b"0000000", 8), (b"0000000", 8), (b"", 167),
    ]
    header = b"".join(value.ljust(width, b"\0") for value, width in fields)
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def tar_of(name, content):
    """An archive of one file."""
    return tar_header(name, len(content)) + content + bytes(-len(content) % 512 + 1024)


def gzip_of(data):
    """A gzip member with `data`, at most 65,535 bytes, in one stored block; without a time and a name."""
    block = struct.pack("<BHH", 1, len(data), len(data) ^ 0xFFFF)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block + data + struct.pack("<II", zlib.crc32(data), len(data))


class Layout:
    def __init__(self, path, seed):
        self.path, self.seed = path, seed
        self.dir = f"{path}/blobs/sha256"
        os.makedirs(self.dir)
        self.blobs = self.bytes = 0

    def blob(self, media_type, data):
        """Writes a blob that is not there yet; returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        file = os.open(f"{self.dir}/{digest}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(file, data)
        finally:
            os.close(file)
        self.blobs += 1
        self.bytes += len(data)
        return {"mediaType": TYPE + media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def document(self, media_type, value):
        return self.blob(media_type, json.dumps(value, separators=(",", ":")).encode())

    def layer(self, owner, number):
        """Returns the descriptor and the diff_id of a layer of a few hundred bytes to some KiB."""
        line = f"{self.seed} {owner} layer {number}\n".encode()
        size = 200 + 400 * (zlib.crc32(line) % 10)
        tar = tar_of(f"srv/{owner}-{number}", (line * (size // len(line) + 1))[:size])
        return self.blob("layer.v1.tar+gzip", gzip_of(tar)), f"sha256:{hashlib.sha256(tar).hexdigest()}"

    def image(self, number, layers):
        """Returns the descriptor of a manifest."""
        config = self.document("config.v1+json", {
            "created": CREATED, "architecture": "amd64", "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"],
                "Labels": {"org.example.build": f"{self.seed}-{number}"},
            },
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
            "history": [{"created": CREATED, "created_by": f"step {n}"} for n in range(len(layers))],
        })
        return self.document("manifest.v1+json", {
            "schemaVersion": 2, "mediaType": f"{TYPE}manifest.v1+json", "config": config,
            "layers": [descriptor for descriptor, _ in layers],
        })

    def write(self, name, value):
        with open(f"{self.path}/{name}", "w") as f:
            json.dump(value, f, separators=(",", ":"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("images", type=int)
    parser.add_argument("--layers", type=int, default=9, metavar="N")
    parser.add_argument("--untagged", type=float, default=0.0, metavar="FRACTION")
    parser.add_argument("--seed", default="cache")
    args = parser.parse_args()
    if args.images < 1 or args.layers < 1 or not 0 <= args.untagged <= 1:
        parser.error("IMAGES and N are at least 1, FRACTION is from 0 to 1")

    layout = Layout(args.dir, args.seed)
    shared = args.layers // 3
    untagged = round(args.images * args.untagged)
    bases, used, entries, garbage, orphan = {}, set(), [], 0, None
    for number in range(args.images):
        # Not the number modulo 20: the untagged images would all stand on the same bases.
        base = zlib.crc32(b"%d" % number) % BASES
        if base not in bases:
            bases[base] = [layout.layer(f"base-{base}", n) for n in range(shared)]
        own = [layout.layer(f"image-{number}", n) for n in range(shared, args.layers)]
        manifest = layout.image(number, bases[base] + own)
        if (number + 1) * untagged // args.images > number * untagged // args.images:
            garbage += len(own) + 2
            orphan = orphan or manifest["digest"]
        else:
            used.add(base)
            entries.append(manifest | {"annotations": {"org.opencontainers.image.ref.name": f"image-{number}"}})
    garbage += shared * (len(bases) - len(used))
    layout.write("oci-layout", {"imageLayoutVersion": "1.0.0"})
    layout.write("index.json", {"schemaVersion": 2, "mediaType": f"{TYPE}index.v1+json", "manifests": entries})
    print(json.dumps({
        "images": args.images, "tagged": len(entries), "blobs": layout.blobs, "garbage_blobs": garbage,
        "bytes": layout.bytes, "untagged_example": orphan,
    }))


main()
