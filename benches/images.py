# SPDX-License-Identifier: Apache-2.0
"""Input of the benchmarks that compare programs over whole images: texts, and images as they lie on disk."""
import json, os, random, subprocess, sys


def quiet(*words):
    """Runs a command that makes input; its failure ends the benchmark."""
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def in_child(job, *arguments):
    """Does what takes much memory elsewhere: the peak of a program counts from that of its parent."""
    pid = os.fork()
    if pid == 0:
        job(*arguments)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("cannot make the input")


def text(n, seed):
    """Bytes that compress about as programs and documents do."""
    source = random.Random(seed)
    words = [source.randbytes(source.randint(2, 12)) for _ in range(4000)]
    out = bytearray()
    while len(out) < n:
        out += b"".join(source.choices(words, k=4096))
    return bytes(out[:n])


def document(image, digest):
    """The JSON document of a layout that has this digest."""
    with open(f"{image}/blobs/{digest.replace(':', '/')}") as f:
        return json.load(f)


def layers_of(image):
    """Paths of the layers of the first image of a layout, the lowest first."""
    with open(f"{image}/index.json") as f:
        manifest = document(image, json.load(f)["manifests"][0]["digest"])
    return [f"{image}/blobs/{layer['digest'].replace(':', '/')}" for layer in manifest["layers"]]
