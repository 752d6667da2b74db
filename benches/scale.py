# SPDX-License-Identifier: Apache-2.0
"""The measuring part of scale.sh: python3 scale.py ROUNDS WORK OURS IMAGES...

For each size one pristine layout is made, and two copies of hard links: `mine` for ours, `theirs` for the packaged
umoci and skopeo. No program changes a blob in place, except that skopeo writes the manifest of an image that it copies,
and it copies only images that the pristine layout lacks; index.json and oci-layout are real copies.

A warm index means that it has caught up with the layout, and that the layout was left alone for three seconds before
it did: younger time stamps are not trusted, and everything is looked at again.

This script's own memory, about 15 MB, is the least that it can measure.
"""
import functools, json, os, shutil, statistics, subprocess, sys, time

rounds, work, ours = int(sys.argv[1]), sys.argv[2], sys.argv[3]
sizes = [int(word) for word in sys.argv[4:]]
peer = os.environ.get("UMOCI_PEER", "/usr/bin/umoci")
is_build_of_ours = "UMOCI_PEER" in os.environ
skopeo = ("/usr/bin/skopeo", "--insecure-policy")
pristine, mine, theirs = (f"{work}/{name}" for name in ("pristine", "mine", "theirs"))
mebibyte = 1 << 20
# The job, and the most that ours may take as a share of the packaged umoci's time, with 10,000 images.
GOALS = {"gc, nothing to do": 1 / 50, "gc, 1,500 blobs": 1 / 15, "tag": 1, "ref create": 1, "stat": 1 / 3, "list": 1}
failures = []


def child(job, *args):
    """Runs a function in a process of its own: what this one has ever used counts as peak memory of each program."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            job(*args)
            status = 0
        except Exception as err:
            print(f"{job.__name__}: {err}", file=sys.stderr)
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(f"{job.__name__} failed")


def output(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def run(*words):
    """Runs a command; returns wall seconds, CPU seconds and peak memory in MB, or None if it failed."""
    errors = f"{work}/errors"
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, errors, write, 0o600)]
    start = time.monotonic()
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - start
    if status == 0:
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    with open(errors, errors="replace") as f:
        said = f.read(1 << 16).strip().splitlines() or ["no word why"]
    failures.append((" ".join(words), f"exit status {os.waitstatus_to_exitcode(status)}: {said[-1].strip()}"))
    return None


def must(*words):
    if run(*words) is None:
        sys.exit(": ".join(failures[-1]))


@functools.cache
def has(*words):
    """Whether this build of ours has the command."""
    done = subprocess.run([ours, *words, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode == 0 and b"No help topic" not in done.stdout


def generate(path, images, *more):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_cache_layout.py")
    return json.loads(output(sys.executable, script, path, str(images), *more))


def restore(store):
    """Makes a copy what the pristine layout is, but for the index."""
    there, want = (set(os.listdir(f"{path}/blobs/sha256")) for path in (store, pristine))
    for name in there - want:
        os.unlink(f"{store}/blobs/sha256/{name}")
    for name in want - there:
        os.link(f"{pristine}/blobs/sha256/{name}", f"{store}/blobs/sha256/{name}")
    shutil.copyfile(f"{pristine}/index.json", f"{store}/index.json.new")
    os.replace(f"{store}/index.json.new", f"{store}/index.json")


def compare():
    """Ours must have removed what the packaged umoci removed."""
    one, two = (set(os.listdir(f"{store}/blobs/sha256")) for store in (mine, theirs))
    if one != two:
        raise ValueError(f"{len(one ^ two)} blobs differ")


def warm():
    os.sync()
    time.sleep(3.1)
    must(ours, "gc", "--dry-run", "--layout", mine)
    if is_build_of_ours:
        must(peer, "gc", "--dry-run", "--layout", theirs)


class Size:
    """The measurements of one size."""

    def __init__(self, images):
        self.images = images
        self.rounds = 1 if images > 20_000 else rounds
        self.found, self.absent = {}, {}
        start = time.monotonic()
        # Six layers, a config and a manifest go with each untagged image.
        self.made = generate(pristine, images, "--untagged", repr(min(188 / images, 0.5)))
        print(f"\n{images:,} images: {json.dumps(self.made)}, made in {time.monotonic() - start:.0f} s", flush=True)
        for store in (mine, theirs):
            subprocess.run(["cp", "-al", pristine, store], check=True)
            for name in ("index.json", "oci-layout"):
                os.unlink(f"{store}/{name}")
                shutil.copyfile(f"{pristine}/{name}", f"{store}/{name}")
        for name in ("import", "skopeo"):
            generate(f"{work}/{name}", 1, "--seed", name)
        # Where a search from either end has half of the way.
        middle = self.made["tagged"] // 2 + 1
        self.tag = output("bash", "-c", f"{peer} ls --layout {theirs} | sed -n {middle}p").strip()

    def time(self, job, who, *words):
        result = run(*words)
        if result:
            self.found.setdefault(job, {}).setdefault(who, []).append(result)
        else:
            self.absent[job, who] = failures[-1][1]

    def time_new(self, job, command, *words):
        """Times a command that not every build of ours has."""
        if has(*command):
            self.time(job, "ours", ours, *command, *words)
        else:
            self.absent[job, "ours"] = f"this build has no {' '.join(command)}"

    def turn(self):
        self.restore()
        os.sync()
        for store in (mine, theirs):
            shutil.rmtree(f"{store}/.umoci", ignore_errors=True)
        self.time("first gc --dry-run", "ours", ours, "gc", "--dry-run", "--layout", mine)
        shutil.rmtree(f"{mine}/.umoci")
        self.time_new("first indexing", ("index", "rebuild"), "--layout", mine)
        if is_build_of_ours:
            self.time("first indexing", "packaged", peer, "index", "rebuild", "--layout", theirs)
        self.refs()
        self.restore()
        self.collections()
        warm()
        self.index_size = os.stat(f"{mine}/.umoci/index.redb").st_size
        # The fast way needs what the full one noted.
        self.time_new("fsck", ("fsck",), "--layout", mine)
        self.time_new("fsck --fast", ("fsck",), "--fast", "--layout", mine)

    def restore(self):
        for store in (mine, theirs):
            child(restore, store)

    def refs(self):
        warm()
        self.time("list", "ours", ours, "ls", "--layout", mine)
        self.time("list", "packaged", peer, "ls", "--layout", theirs)
        self.time("stat", "ours", ours, "stat", "--image", f"{mine}:{self.tag}")
        self.time("stat", "packaged", peer, "stat", "--image", f"{theirs}:{self.tag}")
        self.time("stat", "skopeo", *skopeo, "inspect", "--raw", f"oci:{theirs}:{self.tag}")
        self.time("tag", "ours", ours, "tag", "--image", f"{mine}:{self.tag}", "tagged")
        self.time("tag", "packaged", peer, "tag", "--image", f"{theirs}:{self.tag}", "tagged")
        warm()
        digest = self.made["untagged_example"]
        self.time("ref create", "ours", ours, "ref", "create", "--layout", mine, "named", "--digest", digest)
        # The nearest that there is: its tag.
        self.time("ref create", "packaged", peer, "tag", "--image", f"{theirs}:{self.tag}", "named")
        warm()
        self.time("import", "ours", ours, "import", "--layout", mine, "--tag", "imported", f"{work}/import:image-0")
        self.time("import", "skopeo", *skopeo, "copy", f"oci:{work}/import:image-0", f"oci:{theirs}:imported")
        warm()
        must(*skopeo, "copy", f"oci:{work}/skopeo:image-0", f"oci:{mine}:skopeo")
        self.time("re-indexing after skopeo", "ours", ours, "gc", "--dry-run", "--layout", mine)

    def collections(self):
        for job in ("gc, 1,500 blobs", "gc, nothing to do"):
            warm()
            self.time(job, "ours", ours, "gc", "--layout", mine)
            self.time(job, "packaged", peer, "gc", "--layout", theirs)
            child(compare)

    def median(self, job, who):
        results = self.found.get(job, {}).get(who)
        return statistics.median(r[0] for r in results) if results else None

    def show(self):
        print(f"rounds: {self.rounds}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{'job':26}{'who':10}{'wall':>9}{'min':>9}{'CPU s':>9}{'MB':>6}")
        for job, sides in self.found.items():
            for who, results in sides.items():
                wall, cpu = [r[0] for r in results], statistics.median(r[1] for r in results)
                memory = max(r[2] for r in results)
                print(f"{job:26}{who:10}{statistics.median(wall):9.3f}{min(wall):9.3f}{cpu:9.3f}{memory:6.0f}")
        for (job, who), reason in self.absent.items():
            print(f"{job:26}{who:10}{'n/a':>9}  {reason}")
        for job in ("first gc --dry-run", "first indexing"):
            if wall := self.median(job, "ours"):
                speed, size = self.images / wall, self.made["bytes"] / mebibyte / wall
                print(f"{job}: {speed:,.0f} images/s, {size:.1f} MB/s")
        print(f"index.redb: {self.index_size:,} bytes, {self.index_size / self.made['blobs']:.0f} for each blob")
        peaks = {job: max(r[2] for r in sides["ours"]) for job, sides in self.found.items() if "ours" in sides}
        job = max(peaks, key=peaks.get)
        print(f"peak memory of ours: {peaks[job]:.0f} MB ({job})", flush=True)


done = []
for images in sizes:
    for name in ("pristine", "mine", "theirs", "import", "skopeo"):
        subprocess.run(["rm", "-rf", f"{work}/{name}"], check=True)
    size = Size(images)
    for _ in range(size.rounds):
        size.turn()
    size.show()
    done.append(size)

print("\nours / packaged umoci" + "".join(f"{size.images:>12,}" for size in done) + f"{'goal':>10}")
for job, goal in GOALS.items():
    line = f"{job:21}"
    for size in done:
        us, them = size.median(job, "ours"), size.median(job, "packaged")
        line += f"{us / them:12.5f}" if us and them else f"{'n/a':>12}"
    print(f"{line}{goal:10.5f}")
for before, after in zip(done, done[1:]):
    print(f"growth of ours from {before.images:,} to {after.images:,} images: ", end="")
    parts = []
    for job in ("gc, nothing to do", "gc, 1,500 blobs", "stat"):
        old, new = before.median(job, "ours"), after.median(job, "ours")
        parts.append(f"{job} x{new / old:.1f}" if old and new else f"{job} n/a")
    print("; ".join(parts))
if failures:
    sys.exit("\n".join(f"failed: {command}: {reason}" for command, reason in failures))
