# SPDX-License-Identifier: Apache-2.0
"""The measuring part of side-by-side.sh: python3 side_by_side.py ROUNDS WORK OURS"""
import json, os, statistics, subprocess, sys, time

rounds, work, ours = int(sys.argv[1]), sys.argv[2], sys.argv[3]
peer = "/usr/bin/umoci"
image = f"{work}/image"


def run(*words):
    """Runs a command; returns wall seconds, CPU seconds and peak memory in MB."""
    start = time.monotonic()
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{words} failed")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def document(digest):
    with open(f"{image}/blobs/{digest.replace(':', '/')}") as f:
        return json.load(f)


with open(f"{image}/index.json") as f:
    manifest = document(json.load(f)["manifests"][0]["digest"])
layers = [f"{image}/blobs/{l['digest'].replace(':', '/')}" for l in manifest["layers"]]
subprocess.run(["cp", "-a", image, f"{work}/ours"], check=True)
subprocess.run(["cp", "-a", image, f"{work}/peer"], check=True)
found = {}


def note(job, who, result):
    found.setdefault(job, {}).setdefault(who, []).append(result)


def fresh(*names):
    subprocess.run(["rm", "-rf", *(f"{work}/{n}" for n in names)], check=True)


for turn in range(rounds):
    for who, program in [("ours", ours), ("packaged", peer)]:
        store = f"{work}/{'ours' if who == 'ours' else 'peer'}"
        bundle = f"{work}/bundle"
        fresh("bundle")
        note("unpack", who, run(program, "unpack", "--image", f"{store}:debian", bundle))
        note("repack, nothing changed", who, run(program, "repack", "--image", f"{store}:same", bundle))
        with open(f"{bundle}/rootfs/etc/issue", "w") as f:
            f.write(f"turn {turn}\n")
        note("repack, one file changed", who, run(program, "repack", "--image", f"{store}:one", bundle))
        # Not read here: a child's peak memory counts from that of its parent.
        unzip = " ".join(f"<(gzip -dc {path} | head -c 200M)" for path in layers)
        subprocess.run(["bash", "-c", f"cat {unzip} >{bundle}/rootfs/new"], check=True)
        note("repack, large new file", who, run(program, "repack", "--image", f"{store}:large", bundle))
        note("stat", who, run(program, "stat", "--image", f"{store}:large"))
        note("gc", who, run(program, "gc", "--layout", store))
    fresh("tree")
    os.mkdir(f"{work}/tree")
    results = [run("tar", "-xzf", path, "-C", f"{work}/tree") for path in layers]
    note("unpack", "tar -xzf", (sum(r[0] for r in results), sum(r[1] for r in results), max(r[2] for r in results)))

print(f"{rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
print(f"{'job':28}{'who':10}{'wall':>8}{'min':>8}{'CPU s':>8}{'MB':>6}{'ratio':>8}")
for job, sides in found.items():
    base = statistics.median(r[0] for r in sides["packaged"])
    for who, results in sides.items():
        wall = [r[0] for r in results]
        cpu, memory = statistics.median(r[1] for r in results), max(r[2] for r in results)
        median = statistics.median(wall)
        print(f"{job:28}{who:10}{median:8.2f}{min(wall):8.2f}{cpu:8.2f}{memory:6.0f}{median / base:8.2f}")
