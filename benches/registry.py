# SPDX-License-Identifier: Apache-2.0
"""The measuring part of registry.sh: python3 registry.py ROUNDS SIZE WORK OURS"""
import hashlib, http.client, json, os, random, re, shutil, socket, statistics, subprocess, sys, threading, time

rounds, size, work, ours = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
small = size == "small"
errors = f"{work}/errors"
log = f"{work}/access"
skopeo = ("skopeo", "--insecure-policy")


def run(*words):
    """Runs a command; returns wall seconds, CPU seconds and peak memory in MB."""
    write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, errors, write, 0o600)]
    start = time.monotonic()
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(words)} failed: {open(errors).read().strip()}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    """A docker-registry with an empty store."""

    def __init__(self):
        self.root = f"{work}/registry"
        shutil.rmtree(self.root, ignore_errors=True)
        self.address = f"127.0.0.1:{free_port()}"
        with open(f"{work}/registry.yml", "w") as f:
            f.write(f"version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {self.root}}}\n"
                    f"  delete: {{enabled: true}}\nhttp:\n  addr: {self.address}\n")
        self.log = open(log, "w")
        self.process = subprocess.Popen(["docker-registry", "serve", f"{work}/registry.yml"], stdout=self.log,
                                        stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                socket.create_connection(tuple(self.address.split(":"))).close()
                break
            except OSError:
                time.sleep(0.05)
        self.seen = 0

    def requests(self):
        """Requests since the last call."""
        time.sleep(0.05)
        with open(log, errors="replace") as f:
            f.seek(self.seen)
            text = f.read()
            self.seen = f.tell()
        return len(re.findall(r'"(?:GET|HEAD|POST|PUT|PATCH|DELETE) ', text))

    def stop(self):
        self.process.kill()
        self.process.wait()


def blob(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{layout}/blobs/sha256/{digest}", "wb") as f:
        f.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def image(layout, layers):
    """Writes an image of raw layers; returns its descriptor."""
    made = [blob(layout, data) for data in layers]
    config = blob(layout, json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": [layer["digest"] for layer in made]}}).encode())
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer} for layer in made]}
    return {"mediaType": manifest["mediaType"], **blob(layout, json.dumps(manifest).encode())}


def layout(path, images):
    """Makes a layout of tags and their layers."""
    os.makedirs(f"{path}/blobs/sha256")
    with open(f"{path}/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')
    entries = []
    for tag, layers in images:
        entries.append({**image(path, layers), "annotations": {"org.opencontainers.image.ref.name": tag}})
    with open(f"{path}/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": entries}, f)


def in_child(path, images):
    """Makes a layout elsewhere: the peak memory of a program counts from that of its parent."""
    pid = os.fork()
    if pid == 0:
        layout(path, images())
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("cannot make the input")


found, order = {}, []


def note(job, who, registry, result):
    if job not in found:
        order.append(job)
    found.setdefault(job, {}).setdefault(who, []).append((*result, registry.requests()))


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)


def one_image(turn):
    source, registry = f"{work}/one", Registry()
    to = f"{registry.address}/team/app"
    registry.requests()
    theirs = {"--dest-tls-verify=false"}, {"--src-tls-verify=false"}
    for who in ("ours", "skopeo") if turn % 2 else ("skopeo", "ours"):
        name, back = f"{to}-{who}", f"{work}/back-{who}"
        fresh(back)
        if who == "ours":
            push = [ours, "push", "--image", f"{source}:app", f"{name}:1"]
            pull = [ours, "pull", "--referrers", "no", "--layout", back, f"{name}:1"]
        else:
            push = [*skopeo, "copy", *theirs[0], f"oci:{source}:app", f"docker://{name}:1"]
            pull = [*skopeo, "copy", *theirs[1], f"docker://{name}:1", f"oci:{back}:1"]
        note("push, nothing there", who, registry, run(*push))
        note("push again", who, registry, run(*push))
        if who == "ours":
            copied = [ours, "copy", "--referrers", "no", f"docker://{name}:1", f"docker://{name}-copy:1"]
        else:
            copied = [*skopeo, "copy", *theirs[0], *theirs[1], f"docker://{name}:1", f"docker://{name}-copy:1"]
        note("copy to another repository", who, registry, run(*copied))
        note("that copy again", who, registry, run(*copied))
        note("pull, nothing here", who, registry, run(*pull))
        note("pull again", who, registry, run(*pull))
        if who == "ours":
            fresh(f"{back}-all")
            note("pull with referrers", who, registry, run(ours, "pull", "--layout", f"{back}-all", f"{name}:1"))
    registry.stop()


def many_images():
    registry = Registry()
    count = 50 if small else 1000
    pieces = [os.urandom(2000) for _ in range(count)]
    source, back, name = f"{work}/many", f"{work}/many-back", f"{registry.address}/many"
    layout(source, [(f"t{n}", [piece]) for n, piece in enumerate(pieces)])
    registry.requests()
    note(f"push {count} images", "ours", registry, run(ours, "push", "--layout", source, "--all-tags", name))
    note(f"pull {count} images", "ours", registry, run(ours, "pull", "--referrers", "no", "--layout", back, "--all-tags", name))
    for n in range(10):
        pieces[n] = os.urandom(2000)
    fresh(source)
    layout(source, [(f"t{n}", [piece]) for n, piece in enumerate(pieces)])
    note(f"push {count} images, 10 changed", "ours", registry, run(ours, "push", "--layout", source, "--all-tags", name))
    note(f"pull {count} images, 10 changed", "ours", registry,
         run(ours, "pull", "--referrers", "no", "--layout", back, "--all-tags", name))
    subprocess.run([ours, "fsck", "--layout", back], check=True, stdout=subprocess.DEVNULL)
    registry.stop()


def wait_for(address):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            return socket.create_connection(tuple(address.split(":"))).close()
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens at {address}")


def proxy_of(who, origin):
    """Starts an empty cache before an origin; returns its process and address."""
    store = f"{work}/cache-{who}"
    fresh(store)
    os.makedirs(store)
    address = f"127.0.0.1:{free_port()}"
    words = [ours, "--quiet", "serve", "--root", store, "--upstream", origin, "--listen", address]
    if who != "ours":
        words = ["docker-registry", "serve", f"{work}/proxy.yml"]
        with open(f"{work}/proxy.yml", "w") as f:
            f.write(f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {store}}}\n"
                    f"http:\n  addr: {address}\nproxy: {{remoteurl: 'http://{origin}'}}\n")
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(address)
    return process, address


def fetch(connection, path):
    """Reads an answer to its end; returns the digest of its body."""
    connection.request("GET", path, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    answer, hashed, body = connection.getresponse(), hashlib.sha256(), bytearray(1 << 20)
    if answer.status != 200:
        raise OSError(f"{path}: {answer.status}")
    kept = b""
    while n := answer.readinto(body):
        hashed.update(memoryview(body)[:n])
        kept = bytes(body[:n]) if len(kept) + n < 1 << 16 else b""
    return hashed.hexdigest(), kept


def client(address, begin, failures):
    """Pulls the image as a client does: the manifest, then each blob."""
    try:
        connection = http.client.HTTPConnection(address, timeout=300)
        begin.wait()
        _, manifest = fetch(connection, "/v2/team/app/manifests/1")
        manifest = json.loads(manifest)
        for blob in [manifest["config"], *manifest["layers"]]:
            if fetch(connection, f"/v2/team/app/blobs/{blob['digest']}")[0] != blob["digest"][7:]:
                raise OSError(f"{blob['digest']} is wrong")
    except Exception as err:
        failures.append(f"{err!r}")


def herd(turn, results):
    """64 clients at once pull one image through an empty cache."""
    origin = Registry()
    subprocess.run([ours, "push", "--image", f"{work}/one:app", f"{origin.address}/team/app:1"], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whos = ("ours", "docker-registry")
    for who in whos if turn % 2 else reversed(whos):
        process, address = proxy_of(who, origin.address)
        begin, failures = threading.Barrier(65), []
        threads = [threading.Thread(target=client, args=(address, begin, failures)) for _ in range(64)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        with open(log, errors="replace") as f:
            seen = f.seek(0, os.SEEK_END)
        start = time.monotonic()
        begin.wait()
        for thread in threads:
            thread.join()
        wall = time.monotonic() - start
        time.sleep(0.5)
        with open(log, errors="replace") as f:
            f.seek(seen)
            asked = re.findall(r'"(GET|HEAD) (\S+) [^"]*" (\d+) (\d+)', f.read())
        blobs = sum(method == "GET" and "/blobs/" in path for method, path, _, _ in asked)
        sent = sum(int(size) for method, _, _, size in asked if method == "GET") / 1e6
        results.setdefault(who, []).append((wall, len(asked), blobs, sent, len(failures)))
        for failure in sorted(set(failures))[:3]:
            print(f"{who}: {failure}", file=sys.stderr)
        process.kill()
        process.wait()
    origin.stop()


def herds():
    results = {}
    for turn in range(rounds):
        herd(turn, results)
    print("\n| 64 clients at once through an empty cache | wall s | origin: requests | blobs | MB | clients that failed |")
    print("|---|---|---|---|---|---|")
    for who, rows in results.items():
        wall, asked, blobs, sent, failed = (statistics.median(column) for column in zip(*rows))
        who = "umoci serve --upstream" if who == "ours" else "docker-registry, proxy"
        print(f"| {who} | {wall:.2f} | {asked:.0f} | {blobs:.0f} | {sent:.1f} | {failed:.0f} |")


source = random.Random(1)
in_child(f"{work}/one", lambda: [("app", [source.randbytes(100_000 if small else 15_500_000) for _ in range(10)])])
for turn in range(rounds):
    one_image(turn)
many_images()
print(f"\n| job | program | wall s | CPU s | peak MB | requests |\n|---|---|---|---|---|---|")
for job in order:
    for who, results in found[job].items():
        wall, cpu, memory, requests = (statistics.median(column) for column in zip(*results))
        print(f"| {job} | {who} | {wall:.2f} | {cpu:.2f} | {memory:.0f} | {requests:.0f} |")
herds()
