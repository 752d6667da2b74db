# SPDX-License-Identifier: Apache-2.0
"""The measuring part of side-by-side.sh: python3 side_by_side.py ROUNDS SIZE WORK OURS"""
import json, os, platform, shutil, statistics, subprocess, sys, time

from images import document, in_child, layers_of, quiet, text

rounds, size, work, ours = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
peer = os.environ.get("UMOCI_PEER", "/usr/bin/umoci")
is_build_of_ours = "UMOCI_PEER" in os.environ
small = size == "small"
errors = f"{work}/errors"
files = [
    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
    (os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
]


def run(*words, env=None):
    """Runs a command; returns wall seconds, CPU seconds, peak memory and bytes written, both in MB."""
    start = time.monotonic()
    pid = os.posix_spawnp(words[0], words, {**os.environ, **(env or {})}, file_actions=files)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    wall = time.monotonic() - start
    with open(f"/proc/{pid}/io") as f:
        written = int(dict(line.split(": ") for line in f.read().splitlines())["wchar"])
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(words)} failed: {open(errors).read().strip()}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, written / 1e6


def total(results):
    return tuple(max(column) if at == 2 else sum(column) for at, column in enumerate(zip(*results)))


def image_of(name, fill):
    """An image with one layer of what `fill` puts into a directory, made by the packaged umoci."""
    image, bundle = f"{work}/{name}", f"{work}/{name}.bundle"
    quiet(peer, "init", "--layout", image)
    quiet(peer, "new", "--image", f"{image}:debian")
    quiet(peer, "unpack", "--image", f"{image}:debian", bundle)
    in_child(fill, f"{bundle}/rootfs")
    quiet(peer, "repack", "--image", f"{image}:debian", bundle)
    shutil.rmtree(bundle)
    quiet(peer, "gc", "--layout", image)


def many_files(root):
    block = text(1 << 20, 1)
    for n in range(2_000 if small else 100_000):
        if n % 100 == 0:
            os.makedirs(f"{root}/{n // 10000}/{n // 100}")
        start = (n * 7919) % (len(block) - 8192)
        with open(f"{root}/{n // 10000}/{n // 100}/{n}", "wb") as f:
            f.write(block[start : start + n % 8192])


def large_files(root):
    piece = text(5_000_000, 2)
    for n in range(4):
        with open(f"{root}/{n}", "wb") as f:
            for at in range(4 if small else 100):
                f.write(n.to_bytes(4, "big") + at.to_bytes(4, "big") + piece[8:])


found, order = {}, []


def note(job, who, result):
    if job not in found:
        order.append(job)
    found.setdefault(job, {}).setdefault(who, []).append(result)


def fresh(*names):
    quiet("rm", "-rf", *(f"{work}/{n}" for n in names))


def extract(job, image, flag):
    if is_build_of_ours:
        return
    fresh("tree")
    os.mkdir(f"{work}/tree")
    note(job, "tar", total([run("tar", flag, "-xf", path, "-C", f"{work}/tree") for path in layers_of(image)]))
    fresh("tree")


def stores(name):
    """A copy of an image for each program. A build of ours runs twice as the peer, which tells the spread."""
    programs = {"ours": ours, "umoci": peer} | ({"again": peer} if is_build_of_ours else {})
    for side in programs:
        fresh(f"{name}.{side}")
        quiet("cp", "-a", f"{work}/{name}", f"{work}/{name}.{side}")
    return [(side, program, f"{work}/{name}.{side}") for side, program in programs.items()]


def rotated(sides, turn):
    """The programs in another order in each round."""
    return sides[turn % len(sides) :] + sides[: turn % len(sides)]


def from_buildah():
    """Times buildah, which wants a store of its own."""
    home = f"{work}/buildah"
    box = ["--root", f"{home}/root", "--runroot", f"{home}/run", "--storage-driver", "vfs"]
    note("debian: unpack", "buildah", run("buildah", *box, "from", "--name", "x", f"oci:{work}/debian:debian", env=vfs))
    quiet("buildah", *box, "rm", "-a")
    fresh("buildah")


def from_zstd(sides):
    """Times the unpacking of zstd, which the packaged umoci cannot read: its time for gzip stands in the table."""
    for who, program, _ in sides:
        if who == "ours" or is_build_of_ours:
            fresh("bundle.zstd")
            note("zstd: unpack", who, run(program, "unpack", "--image", f"{work}/zstd:debian", f"{work}/bundle.zstd"))
        else:
            note("zstd: unpack", who, found["debian: unpack"][who][-1])
    fresh("bundle.zstd")


def edits(name, sides, turn):
    """Unpack, and repacks of nothing and of one file."""
    for who, program, store in sides:
        bundle = f"{work}/bundle.{who}"
        fresh(f"bundle.{who}")
        note(f"{name}: unpack", who, run(program, "unpack", "--image", f"{store}:debian", bundle))
    for who, program, store in sides:
        note(f"{name}: repack, nothing changed", who,
             run(program, "repack", "--image", f"{store}:same", f"{work}/bundle.{who}"))
    for who, program, store in sides:
        with open(f"{work}/bundle.{who}/rootfs/changed", "w") as f:
            f.write(f"turn {turn}\n")
        note(f"{name}: repack, one file changed", who,
             run(program, "repack", "--image", f"{store}:one", f"{work}/bundle.{who}"))


def noise():
    start = time.monotonic()
    subprocess.run(["sha256sum", f"{work}/noise"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def write_text(path, n, seed):
    with open(path, "wb") as f:
        f.write(text(n, seed))


in_child(write_text, f"{work}/noise", 100_000_000, 3)
in_child(write_text, f"{work}/new", 50_000_000 if small else 500_000_000, 4)
steady = []

# The real image.
all_sides = stores("debian")
quiet("skopeo", "copy", "--dest-compress-format", "zstd", "--dest-compress", f"oci:{work}/debian:debian",
      f"oci:{work}/zstd:debian")
vfs = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
for turn in range(rounds):
    steady.append(noise())
    sides = rotated(all_sides, turn)
    edits("debian", sides, turn)
    for who, program, store in sides:
        shutil.copyfile(f"{work}/new", f"{work}/bundle.{who}/rootfs/new")
        with open(f"{work}/bundle.{who}/rootfs/new", "r+b") as f:
            f.write(turn.to_bytes(4, "big"))
        note("debian: repack, 500 MB new", who, run(program, "repack", "--image", f"{store}:large", f"{work}/bundle.{who}"))
        manifest = next(m for m in json.load(open(f"{store}/index.json"))["manifests"]
                        if m["annotations"]["org.opencontainers.image.ref.name"] == "large")
        made = document(store, manifest["digest"])["layers"][-1]["size"]
        note("  size of that layer", who, (0, 0, 0, made / 1e6))
        note("debian: repack, the same again", who, run(program, "repack", "--image", f"{store}:again", f"{work}/bundle.{who}"))
        os.remove(f"{work}/bundle.{who}/rootfs/new")
    for who, program, store in sides:
        note("debian: stat", who, run(program, "stat", "--image", f"{store}:debian"))
        note("debian: list", who, run(program, "list", "--layout", store))
        note("debian: gc", who, run(program, "gc", "--layout", store))
        note("--version", who, run(program, "--version"))
    note("--version", "true", run("true"))
    extract("debian: unpack", f"{work}/debian", "-z")
    if not is_build_of_ours:
        from_buildah()
    from_zstd(sides)
    fresh(*(f"bundle.{who}" for who, _, _ in sides))
    extract("zstd: unpack", f"{work}/zstd", "--zstd")
fresh("debian", "zstd", *(f"debian.{who}" for who, _, _ in all_sides))

# Many small files, then a few large ones.
for name, fill in [("files", many_files), ("large", large_files)]:
    image_of(name, fill)
    all_sides = stores(name)
    for turn in range(rounds):
        steady.append(noise())
        edits(name, rotated(all_sides, turn), turn)
        fresh(*(f"bundle.{who}" for who, _, _ in all_sides))
        extract(f"{name}: unpack", f"{work}/{name}", "-z")
    fresh(name, *(f"{name}.{who}" for who, _, _ in all_sides))

kind = subprocess.run(["stat", "-f", "-c", "%T", work], check=True, capture_output=True, text=True).stdout.strip()
print(f"{rounds} rounds in turns, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, trees on {kind}")
print(f"noise: the same 100 MB hashed took {min(steady):.2f} to {max(steady):.2f} s, median {statistics.median(steady):.2f}")
print(f"{'job':34}{'who':9}{'wall':>8}{'least':>8}{'CPU s':>8}{'MB mem':>8}{'MB out':>8}{'wall':>8}{'CPU':>8}")
for job in order:
    base = found[job]["umoci"]
    for who, results in sorted(found[job].items(), key=lambda item: item[0] != "ours"):
        wall, cpu, memory, written = (list(column) for column in zip(*results))
        ratio = lambda at: statistics.median(r[at] / b[at] for r, b in zip(results, base)) if base[0][at] else float("nan")
        ratios = f"{ratio(0):8.3f}{ratio(1):8.3f}" if base[0][0] else f"{ratio(3):8.3f}"
        print(f"{job:34}{who:9}{statistics.median(wall):8.3f}{min(wall):8.3f}{statistics.median(cpu):8.2f}{max(memory):8.0f}"
              f"{statistics.median(written):8.0f}{ratios}")
if is_build_of_ours:
    print(f"umoci: {peer}. again: the same a second time, whose ratios are the spread.")
else:
    print("The zstd image is compared with the gzip one in the packaged umoci, which cannot read zstd.")
print("Ratios: the median over the rounds of this program's time to umoci's.")
