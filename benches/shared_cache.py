# SPDX-License-Identifier: Apache-2.0
"""The measuring part of shared-cache.sh: python3 shared_cache.py BUILDERS KEYS WORK OURS"""
import collections, io, os, queue, subprocess, sys, tarfile, threading, time

builders, keys, work, ours = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
# Builders that are at work at the same time: each waits for one process.
AT_ONCE = 64
MAX_SIZE = "4MB"
counts, wrong = collections.Counter(), []
done = threading.Event()


def run(*words):
    return subprocess.run([ours, *words], capture_output=True, text=True)


def must(*words):
    made = run(*words)
    if made.returncode != 0:
        raise ValueError(f"{' '.join(words)}: {made.stderr.strip()}")
    return made.stdout


def content(key):
    return f"result of {key}\n".encode() * 40


def archive(path, key):
    """Writes the result of a key as a tar archive."""
    with tarfile.open(path, mode="w") as tar:
        member = tarfile.TarInfo("result")
        member.size = len(content(key))
        tar.addfile(member, io.BytesIO(content(key)))



def get(key, layout):
    """Asks for a key; returns whether it was there."""
    found = run("cache", "get", key, "--from", shared, "--layout", layout, "--tag", "got")
    if found.returncode == 2:
        counts["misses"] += 1
        return False
    if found.returncode != 0:
        raise ValueError(f"get {key}: exit {found.returncode}: {found.stderr.strip()}")
    counts["hits"] += 1
    layer = subprocess.run([ours, "layer", "cat", "--image", f"{layout}:got", "1"], capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(layer.stdout)) as tar:
        text = tar.extractfile("result").read()
    if text != content(key):
        wrong.append(f"{key} has another result")
    return True


def build(key, layout):
    path = f"{layout}.tar"
    archive(path, key)
    must("new", "--image", f"{layout}:made", "--from", path)
    must("cache", "put", key, "--image", f"{layout}:made", "--to", shared)
    counts["puts"] += 1


def work_on(tasks):
    while True:
        try:
            number, own = tasks.get_nowait()
        except queue.Empty:
            return
        layout = f"{work}/builders/{number}"
        try:
            must("init", "--layout", layout)
            for key in own:
                if not get(key, layout):
                    build(key, layout)
        except Exception as err:
            wrong.append(str(err))


def collect():
    while not done.wait(1):
        must("gc", "--layout", f"{work}/shared", "--grace", "1s", "--max-size", MAX_SIZE)
        counts["collections"] += 1


must("init", "--layout", f"{work}/shared")
os.mkdir(f"{work}/builders")
log = open(f"{work}/log", "w")
server = subprocess.Popen([ours, "serve", f"cache={work}/shared", "--write", "--listen", "127.0.0.1:0"],
                          stdout=subprocess.PIPE, stderr=log, text=True)
shared = f"docker://{server.stdout.readline().strip()}/cache"
tasks = queue.Queue()
for number in range(builders):
    # Half of the keys of the next builder are those of this one.
    each = max(keys // builders, 1)
    tasks.put((number, [f"key-{(number * each + at) % keys}" for at in range(2 * each)]))
collector = threading.Thread(target=collect)
collector.start()
start = time.monotonic()
workers = [threading.Thread(target=work_on, args=(tasks,)) for _ in range(min(AT_ONCE, builders))]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
seconds = time.monotonic() - start
done.set()
collector.join()
checked = run("fsck", "--layout", f"{work}/shared")
server.terminate()
server.wait()
with open(f"{work}/log") as f:
    requests = sum(" /v2/" in line for line in f)
print(f"{builders} builders, {keys} keys, {AT_ONCE} at once, {seconds:.0f} s: {dict(counts)}")
print(f"{requests} requests, {requests / seconds:.0f} a second; fsck of the shared layout: exit status {checked.returncode}")
for fault in wrong[:10]:
    print(f"WRONG: {fault}")
sys.exit(bool(wrong) or checked.returncode != 0)
