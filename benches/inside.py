# SPDX-License-Identifier: Apache-2.0
"""The measuring part of inside.sh: python3 inside.py ROUNDS SIZE WORK OURS"""
import glob, os, shutil, statistics, subprocess, sys, time

from images import in_child, layers_of, quiet, text

rounds, size, work, ours = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
small = size == "small"
peer = "/usr/bin/umoci"
files = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, f"{work}/errors",
         os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]


def run(*words, codes=(0,)):
    """Runs a command; returns wall seconds, CPU seconds and peak memory in MB."""
    start = time.monotonic()
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=files)
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - start
    if os.waitstatus_to_exitcode(status) not in codes:
        sys.exit(f"{' '.join(words)} failed: {open(f'{work}/errors').read().strip()}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def shell(script):
    return run("bash", "-euo", "pipefail", "-c", script, codes=(0, 1))


def many_files(root, first, last):
    block = text(1 << 20, 1)
    for n in range(first, last):
        where = f"{root}/usr/share/{n // 1000}/{n // 50}"
        os.makedirs(where, exist_ok=True)
        start = (n * 7919) % (len(block) - 8192)
        with open(f"{where}/file-{n}", "wb") as f:
            f.write(block[start : start + n % 8192])


def make_files_image():
    """45,000 paths in three layers, of which the last changes 400 files and removes some."""
    count = 2_000 if small else 43_500
    image, bundle = f"{work}/files:debian", f"{work}/files.bundle"
    quiet(peer, "init", "--layout", f"{work}/files")
    quiet(peer, "new", "--image", image)
    quiet(peer, "unpack", "--image", image, bundle)
    for step in (lambda: many_files(f"{bundle}/rootfs", 0, count // 2),
                 lambda: many_files(f"{bundle}/rootfs", count // 2, count),
                 lambda: change_files(f"{bundle}/rootfs", count)):
        step()
        quiet(peer, "repack", "--refresh-bundle", "--image", image, bundle)
    shutil.rmtree(bundle)


def change_files(root, count):
    for n in range(0, count, count // 400):
        with open(f"{root}/usr/share/{n // 1000}/{n // 50}/file-{n}", "ab") as f:
            f.write(b"changed")
    shutil.rmtree(f"{root}/usr/share/1")


def make_layers(layers):
    """One layout of so many layers, each with 20 files, ten of them an image."""
    os.makedirs(f"{work}/one")
    quiet(ours, "init", "--layout", f"{work}/layers")
    for n in range(layers // 10):
        for at in range(10):
            shutil.rmtree(f"{work}/one")
            os.makedirs(f"{work}/one/opt/{n}/{at}")
            for file in range(20):
                with open(f"{work}/one/opt/{n}/{at}/{file}", "w") as f:
                    f.write(f"{n} {at} {file}\n" * 20)
            tag = f"{work}/layers:image-{n}"
            if at == 0:
                quiet(ours, "new", "--image", tag, "--from", f"{work}/one")
            else:
                quiet(ours, "insert", "--image", tag, f"{work}/one/opt", "/opt")


def question(name, words, other):
    """Asks ours and goes the other way, in turns; prints a row."""
    results = {"ours": [], "other": []}
    run(ours, *words, codes=(0, 1))
    for _ in range(rounds):
        results["ours"].append(run(ours, *words, codes=(0, 1)))
        if other and len(results["other"]) < 3:
            shutil.rmtree(f"{work}/out", ignore_errors=True)
            results["other"].append(shell(other))
    row = [name]
    for who in ("ours", "other"):
        if results[who]:
            wall, cpu, memory = (list(column) for column in zip(*results[who]))
            row.append(f"{statistics.median(wall) * 1000:.0f} ms, {statistics.median(cpu) * 1000:.0f} ms, {max(memory):.0f} MB")
        else:
            row.append("")
    print("| " + " | ".join(row) + " |", flush=True)


def questions(image, some_file):
    paths = layers_of(image)
    each = " ".join(paths)
    ref = f"{image}:debian"
    unpack = f"{peer} unpack --image {ref} {work}/out"
    bundle = f"{work}/bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    quiet(ours, "unpack", "--image", ref, bundle)
    print(f"\n{os.path.basename(image)}: {subprocess.check_output([ours, 'ls-files', ref]).count(10)} paths, {len(paths)} layers\n")
    print("| question | ours | the other way |\n|---|---|---|")
    question("ls-files", ("ls-files", ref), f"for l in {each}; do tar -tzf $l; done")
    question("log", ("log", ref), f"skopeo inspect --config oci:{ref} | jq .history; for l in {each}; do tar -tzf $l | wc -l; done")
    question("blame of a file", ("blame", ref, some_file), f"for l in {each}; do tar -tzf $l | grep -n {some_file}; done")
    question("diff --name-status", ("diff", "--name-status", f"{ref}~1", ref), f"{unpack}; diff -rq --no-dereference {bundle}/rootfs {work}/out/rootfs")
    question("cat of a small file", ("cat", ref, some_file), f"for l in {each}; do tar -xzOf $l {some_file} || tar -xzOf $l ./{some_file} || true; done")
    question("find -size +1M", ("find", ref, "-size", "+1M"), f"{unpack}; find {work}/out/rootfs -size +1M")
    question("waste", ("waste", ref), None)
    question("status of a bundle", ("status", bundle), None)
    store = f"{work}/same"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(image, store)
    question("  the same: an unchanged repack", ("repack", "--image", f"{store}:debian", bundle), None)
    shutil.rmtree(store)
    shutil.rmtree(bundle)


def sizes(image):
    entries = sum(int(subprocess.run(f"tar -tzf {path} | wc -l", shell=True, capture_output=True).stdout) for path in layers_of(image))
    total = lambda pattern: sum(os.path.getsize(path) for path in glob.glob(f"{image}/.umoci/{pattern}/*"))
    blobs = sum(os.path.getsize(path) for path in layers_of(image))
    print(f"{os.path.basename(image)}: tables {total('toc') / max(entries, 1):.1f} bytes an entry, checkpoints {100 * total('spans') / blobs:.2f} % of the layers")


def unpacks(image):
    """Unpacks that make tables and checkpoints, and such that do not, in turns."""
    ratios, bundle = [], f"{work}/bundle"
    plain, tables = f"{work}/plain", f"{work}/tables"
    for store in (plain, tables):
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(image, store, ignore=shutil.ignore_patterns(".umoci"))
    os.makedirs(f"{tables}/.umoci")
    for turn in range(rounds):
        cpu = {}
        for store in (plain, tables) if turn % 2 else (tables, plain):
            shutil.rmtree(bundle, ignore_errors=True)
            shutil.rmtree(f"{tables}/.umoci")
            os.makedirs(f"{tables}/.umoci")
            cpu[store] = run(ours, "unpack", "--image", f"{store}:debian", bundle)[1]
        ratios.append(cpu[tables] / cpu[plain])
    shutil.rmtree(bundle)
    print(f"{os.path.basename(image)}: unpack with tables to without, CPU: median of {rounds} ratios {statistics.median(ratios):.3f}, "
          f"{min(ratios):.3f} to {max(ratios):.3f}")


def again(image):
    """The first unpack of one large layer, and the second."""
    bundle, found = f"{work}/bundle", {"first": [], "second": []}
    for _ in range(max(rounds // 3, 1)):
        shutil.rmtree(f"{image}/.umoci", ignore_errors=True)
        os.makedirs(f"{image}/.umoci")
        for turn in found:
            shutil.rmtree(bundle, ignore_errors=True)
            found[turn].append(run(ours, "unpack", "--image", f"{image}:debian", bundle))
    shutil.rmtree(bundle)
    for turn, results in found.items():
        wall, cpu = (statistics.median(column) for column in list(zip(*results))[:2])
        print(f"one large layer, {turn} unpack: wall {wall:.2f} s, CPU {cpu:.2f} s, {cpu / wall / os.cpu_count():.2f} of {os.cpu_count()} cores busy")


def make_large():
    image, bundle = f"{work}/large:debian", f"{work}/large.bundle"
    quiet(peer, "init", "--layout", f"{work}/large")
    quiet(peer, "new", "--image", image)
    quiet(peer, "unpack", "--image", image, bundle)
    piece = text(5_000_000, 2)
    for n in range(200 if not small else 4):
        with open(f"{bundle}/rootfs/{n}", "wb") as f:
            f.write(n.to_bytes(4, "big") + piece[4:])
    quiet(peer, "repack", "--image", image, bundle)
    shutil.rmtree(bundle)


in_child(make_files_image)
in_child(make_layers, 100 if small else 1000)
in_child(make_large)
print(f"{rounds} rounds in turns, {os.cpu_count()} cores; wall, CPU and peak memory")
questions(f"{work}/debian", "etc/debian_version")
questions(f"{work}/files", "usr/share/3/65/file-3250" if not small else "usr/share/0/5/file-250")
print("\n| question | ours | the other way |\n|---|---|---|")
question("which, over 1,000 layers: a path", ("which", "/opt/7/3/5", "--layout", f"{work}/layers"), None)
with open(f"{work}/wanted", "w") as f:
    f.write("7 3 5\n" * 20)
question("which, over 1,000 layers: a content", ("which", f"{work}/wanted", "--layout", f"{work}/layers"), None)
print()
for name in ("debian", "files"):
    sizes(f"{work}/{name}")
for name in ("debian", "files"):
    unpacks(f"{work}/{name}")
again(f"{work}/large")
