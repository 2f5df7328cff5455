"""What the benchmarks share: servers in network namespaces of their own, figures, and one way to tell them.

Every figure is a ratio of two things measured in the same run on the same machine; the rounds of the
two are interleaved. Everything a benchmark starts dies with it, also when it is killed.
"""
import argparse
import contextlib
import ctypes
import glob
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "bench", "results")
FASTREG = os.path.abspath(os.environ.get("FASTREG", os.path.join(ROOT, "build", "release", "fastreg")))
MIB = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000


def say(text=""):
    print(text, flush=True)


def load():
    return round(os.getloadavg()[0], 2)


def arguments(about, **rounds):
    """--rounds and --full, the same for every benchmark."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=rounds.get("rounds", 9))
    parser.add_argument("--full", action="store_true", help="the full sizes of the target, where they take minutes")
    return parser.parse_args()


def run(*command, ns=None, check=True, **options):
    words = [*(["ip", "netns", "exec", ns] if ns else []), *command]
    done = subprocess.run(words, text=True, capture_output=True, check=False, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:6])} ... failed ({done.returncode}): {done.stderr.strip()[-400:]}")
    return done.stdout


def program(name):
    """A C++ program of bench/, built when it is missing or old; or from $BENCH_PROGRAMS."""
    if given := os.environ.get("BENCH_PROGRAMS"):
        return os.path.join(given, name)
    folder = os.path.join(ROOT, "build", "bench")
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        run("meson", "setup", folder, "--buildtype=debugoptimized", "-Dtests=false", "-Dbench=true", cwd=ROOT,
            env={**os.environ, "CCACHE_NOHASHDIR": "1"})
    run("ninja", "-j2", "-C", folder, f"bench/{name}")
    return os.path.join(folder, "bench", name)


@contextlib.contextmanager
def inside(ns):
    """What the calling thread opens inside the block belongs to the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{ns}") as other:
        if libc.setns(other.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


def until(question, what, seconds=20.0):
    end = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)
    return answer


def shuffled(names, round_number):
    """ABBA for two; a new order each round for more."""
    names = list(names)
    if len(names) == 2:
        return names if round_number % 4 in (0, 3) else names[::-1]
    random.Random(round_number * 7919 + len(names)).shuffle(names)
    return names


# -- the machine and the program ------------------------------------------------------------------
def machine():
    with open("/proc/cpuinfo") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) // 1024
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as f:
        congestion = f.read().strip()
    return {"cores": os.cpu_count(), "cpu": models[0] if models else platform.machine(),
            "memory_mib": memory, "kernel": platform.release(), "congestion_control_default": congestion,
            "congestion_control_here": "reno, in namespaces of the benchmark's own"}


def commit_of(path, binary=None):
    """Of the tree at `path`; "before ..." when the tree is newer than the binary. BENCH_COMMIT says it better."""
    def git(*words):
        return subprocess.run(["git", "-C", path, *words], text=True, capture_output=True, check=False).stdout.strip()
    name = git("rev-parse", "--short=12", "HEAD")
    if name and binary and os.path.getmtime(binary) < int(git("log", "-1", "--format=%ct") or 0):
        name = "before " + name
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/bench/results", ":!/docs/BENCHMARKS.md")
    return (name + ("+changes" if changed else "")) if name else "unknown"


class Report:
    """The figures of one benchmark; finish() prints them and writes bench/results/NAME.json."""

    def __init__(self, target, title, about):
        self.name = os.path.basename(sys.argv[0])
        self.body = {"name": self.name, "target": target, "title": title, "about": " ".join(about.split()),
                     "command": " ".join(["bench/" + self.name, *sys.argv[1:]]),
                     "commit": os.environ.get("BENCH_COMMIT") or commit_of(os.path.dirname(FASTREG), FASTREG), "bench_commit": commit_of(ROOT),
                     "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "machine": machine(),
                     "load": [], "figures": [], "runs": {}, "units": {}, "notes": []}
        say(f"{self.name}: {title}")
        say(f"  commit {self.body['commit']}, {self.body['when']}, load average {load()}")

    def add(self, key, value, unit):
        self.body["runs"].setdefault(key, []).append(round(value, 6))
        self.body["units"][key] = unit

    def round_done(self):
        self.body["load"].append(load())

    def runs(self, key):
        return self.body["runs"][key]

    def median(self, key):
        return statistics.median(self.runs(key))

    def note(self, text):
        self.body["notes"].append(" ".join(text.split()))

    def figure(self, name, value, target=None, worst=None, unit="", digits=2, text=None):
        """`target` is ("<=" or ">=", number), or nothing for a figure that is only told."""
        met = None if target is None else (value <= target[1] if target[0] == "<=" else value >= target[1])
        self.body["figures"].append({
            "name": name, "value": round(value, 4), "worst": None if worst is None else round(worst, 4),
            "unit": unit, "digits": digits, "target": None if target is None else f"{target[0]} {target[1]:g}",
            "met": met, "text": " ".join((text or "").split())})

    def ratio(self, name, top, bottom, target=None, text=None):
        """Ratio of the medians; the worst is the worst of the rounds' own ratios."""
        pairs = [a / b for a, b in zip(self.runs(top), self.runs(bottom))]
        worst = min(pairs) if self.body["units"][top].endswith("/s") else max(pairs)
        self.figure(name, self.median(top) / self.median(bottom), target, worst, text=text)

    def finish(self):
        for key, values in self.body["runs"].items():
            unit = self.body["units"][key]
            worst = min(values) if unit.endswith("/s") else max(values)
            shown = " ".join(f"{v:.4g}" for v in values[:24]) + (" ..." if len(values) > 24 else "")
            say(f"  {key}: median {statistics.median(values):.4g} {unit}, worst {worst:.4g}, "
                f"{len(values)} runs: {shown}")
        say(f"  load average at each round: {' '.join(str(v) for v in self.body['load'])}")
        for f in self.body["figures"]:
            say("  " + line_of(f))
        for note in self.body["notes"]:
            say(f"  note: {note}")
        os.makedirs(RESULTS, exist_ok=True)
        with open(os.path.join(RESULTS, self.name + ".json"), "w") as f:
            json.dump(self.body, f, indent=1)
            f.write("\n")


def line_of(f):
    number = f"{f['value']:.{f['digits']}f}{' ' + f['unit'] if f['unit'] else ''}"
    verdict = {True: "met", False: "MISSED", None: ""}[f["met"]]
    worst = "" if f["worst"] is None else f" (worst {f['worst']:.{f['digits']}f})"
    return f"{f['name']}: {number}{worst}" + (f", target {f['target']} {f['unit']}".rstrip() + f": {verdict}"
                                             if f["target"] else "")


# -- processes, namespaces and servers ------------------------------------------------------------
def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Rig:
    """`with Rig("name") as rig:` a work directory, namespaces and servers, all gone at the end."""

    def __init__(self):
        self.processes, self.namespaces = [], []
        self.root = tempfile.mkdtemp(prefix="fastreg-bench-")
        self.fast = tempfile.mkdtemp(prefix="fastreg-bench-", dir="/dev/shm")  # pulled bodies, to be checked

    def __enter__(self):
        if os.geteuid() != 0:
            raise SystemExit("the benchmarks need root: network namespaces and traffic shaping")
        if not os.access(FASTREG, os.X_OK):
            raise SystemExit("no build/release/fastreg: run tools/build first, or set FASTREG")
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(sig, lambda number, _: sys.exit(128 + number))
        try:
            _remove_stale_namespaces()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(4)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name in self.namespaces:
            _remove_namespace(name)
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.fast, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def namespace(self, label):
        """A network namespace with only a loopback, where TCP speaks reno."""
        name = f"frb-{os.getpid()}-{label}"
        self.namespaces.append(name)
        run("ip", "netns", "add", name)
        run("ip", "link", "set", "lo", "up", ns=name)
        run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno", ns=name)
        return name

    def wire(self, left, right, mbit=None):
        """A veth pair 10.99.0.1 - 10.99.0.2, shaped to `mbit` both ways; no offloads: TBF counts real packets."""
        pid = os.getpid()
        run("ip", "link", "add", f"fl{pid}", "netns", left, "type", "veth", "peer", "name", f"fr{pid}", "netns", right)
        for ns, device, address in ((left, f"fl{pid}", "10.99.0.1/24"), (right, f"fr{pid}", "10.99.0.2/24")):
            run("ip", "addr", "add", address, "dev", device, ns=ns)
            run("ip", "link", "set", device, "up", ns=ns)
            self.shape(ns, device, mbit)
        return f"fl{pid}", f"fr{pid}"

    def shape(self, ns, device, mbit):
        state = "off" if mbit else "on"
        run("ethtool", "-K", device, "tso", state, "gso", state, "gro", state, ns=ns)
        run("tc", "qdisc", "del", "dev", device, "root", ns=ns, check=False)
        if mbit:
            run("tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{mbit}mbit",
                "burst", "64kb", "latency", "50ms", ns=ns)

    def spawn(self, *command, ns=None, log=None):
        words = [*(["ip", "netns", "exec", ns] if ns else []), *command]
        with open(log or os.devnull, "a") as out:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       preexec_fn=_die_with_parent)
        self.processes.append(process)
        return process

    def node(self, label, ns=None, address="127.0.0.1", flags=(), join=None):
        return Node(self, label, ns, address, flags, join)

    def docker_registry(self, ns, address="127.0.0.1", port=5999):
        config = self.path("registry.yml")
        with open(config, "w") as f:
            json.dump({"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                       "storage": {"filesystem": {"rootdirectory": self.path("registry")},
                                   "delete": {"enabled": True}},
                       "http": {"addr": f"{address}:{port}", "secret": "bench"}}, f)
        self.spawn("docker-registry", "serve", config, ns=ns, log=self.path("registry.log"))
        url = f"http://{address}:{port}"
        until(lambda: reachable(url + "/v2/", ns), "docker-registry answers")
        return url

    def nginx(self, ns, folder, address="127.0.0.1", port=5998):
        os.makedirs(self.path("nginx"), exist_ok=True)
        config = self.path("nginx.conf")
        with open(config, "w") as f:
            f.write(f"""daemon off; user root; worker_processes auto; pid {self.path('nginx')}/pid;
error_log {self.path('nginx')}/error.log;
events {{}}
http {{
  sendfile on; access_log off; keepalive_requests 100000000;
  default_type application/octet-stream;
  client_body_temp_path {self.path('nginx')}; proxy_temp_path {self.path('nginx')};
  fastcgi_temp_path {self.path('nginx')}; uwsgi_temp_path {self.path('nginx')}; scgi_temp_path {self.path('nginx')};
  server {{ listen {address}:{port}; root {folder}; }}
}}
""")
        for parent in (self.root, folder):
            os.chmod(parent, 0o755)
        self.spawn("nginx", "-p", self.path("nginx"), "-c", config, "-e", self.path("nginx", "error.log"), ns=ns)
        url = f"http://{address}:{port}"
        until(lambda: reachable(url + "/", ns), "nginx answers")
        return url


def _remove_namespace(name):
    for pid in run("ip", "netns", "pids", name, check=False).split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass
    run("ip", "netns", "del", name, check=False)


def _remove_stale_namespaces():
    for line in run("ip", "netns", "list", check=False).splitlines():
        name = (line.split() or [""])[0]
        if name.startswith("frb-") and not os.path.exists(f"/proc/{name.split('-')[1]}"):
            _remove_namespace(name)


def reachable(url, ns):
    code = run("curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", url, ns=ns, check=False)
    return code not in ("", "000")


class Node:
    """A FastReg node that keeps one copy of what is pushed to it, unless the flags say otherwise."""

    def __init__(self, rig, label, ns, address, flags, join):
        self.rig, self.label, self.ns, self.address, self.flags = rig, label, ns, address, list(flags)
        self.dir = rig.path(label)
        self.join = join
        self.process = None
        self.start()

    def start(self):
        ready_file = os.path.join(self.dir, "ready.json")
        if os.path.exists(ready_file):
            os.unlink(ready_file)
        key = ["--join", self.join.ready["gossip"], "--cluster-key-file",
               os.path.join(self.join.dir, "cluster.key")] if self.join else []
        self.process = self.rig.spawn(
            FASTREG, "serve", "--data-dir", self.dir, "--name", self.label, "--advertise-addr", self.address,
            "--http-listen", f"{self.address}:0", "--gossip-listen", f"{self.address}:0",
            "--transfer-listen", f"{self.address}:0", "--replicas", "1", "--remote-writes", "allow",
            "--log-level", "warn", *key, *self.flags, ns=self.ns, log=self.rig.path(self.label + ".log"))
        until(lambda: os.path.exists(ready_file) or self.process.poll() is not None, f"{self.label} is ready")
        if self.process.poll() is not None:
            with open(self.rig.path(self.label + ".log")) as f:
                raise RuntimeError(f"{self.label} did not start: {f.read()[-600:]}")
        with open(ready_file) as f:
            self.ready = json.load(f)
        self.url = "http://" + self.ready["http"]

    def stop(self):
        self.process.terminate()
        self.process.wait(40)

    def leave(self):
        run(FASTREG, "leave", "--data-dir", self.dir, check=False)
        self.process.wait(60)

    @property
    def pid(self):
        return self.process.pid

    def status(self):
        return json.loads(run(FASTREG, "status", "--json", "--data-dir", self.dir))

    def blob(self, digest):
        return json.loads(run(FASTREG, "blob", digest, "--json", "--data-dir", self.dir))

    def sees(self, count):
        until(lambda: self.status()["members"]["alive"] == count, f"{self.label} sees {count} members")

    def from_peers(self):
        into = self.status()["bytes"]["in"]["peer"]
        return into["tcp"] + into["rdma"]

    def cpu(self):
        """Seconds of processor time so far, user and system, all threads."""
        total = 0
        for path in glob.glob(f"/proc/{self.pid}/task/*/schedstat"):
            with open(path) as f:
                total += int(f.read().split()[0])
        return total / 1e9


# -- bytes ----------------------------------------------------------------------------------------
def random_file(path, size):
    """New random bytes; returns their digest."""
    digest = hashlib.sha256()
    with open(path, "wb") as f:
        for _ in range(size // MIB):
            piece = os.urandom(MIB)
            digest.update(piece)
            f.write(piece)
    return "sha256:" + digest.hexdigest()


def recycle_pages(folder, size):
    """Writes and removes a file: what is written next gets these pages, not ones fresh from the host.

    A virtual machine's first touch of a page costs more than all that is measured; without this the
    runs tell who was given fresh pages.
    """
    path = os.path.join(folder, "pages")
    piece = bytes(MIB)
    with open(path, "wb") as f:
        for _ in range(size // MIB):
            f.write(piece)
    os.unlink(path)


def digest_of_file(path):
    with open(path, "rb") as f:
        return "sha256:" + _hash_of(f)


def _hash_of(f):
    digest = hashlib.sha256()
    while piece := f.read(4 * MIB):
        digest.update(piece)
    return digest.hexdigest()


def push(url, repo, path, digest, ns=None):
    head = run("curl", "-sS", "-f", "-X", "POST", "-D", "-", "-o", "/dev/null", f"{url}/v2/{repo}/blobs/uploads/", ns=ns)
    place = next(line.split(":", 1)[1].strip() for line in head.splitlines() if line.lower().startswith("location:"))
    if place.startswith("/"):
        place = url + place
    place += ("&" if "?" in place else "?") + "digest=" + digest
    code = run("curl", "-sS", "-f", "-T", path, "-H", "Content-Type: application/octet-stream",
               "-H", "Expect:", "-o", "/dev/null", "-w", "%{http_code}", place, ns=ns)
    if code != "201":
        raise RuntimeError(f"push of {digest} answered {code}")


def push_manifest(rig, url, repo, tag, layers, ns=None):
    """A manifest of layers [(digest, size)] that are there already; returns its digest."""
    config = rig.path("config.json")
    with open(config, "w") as f:
        f.write("{}")
    config_digest = digest_of_file(config)
    push(url, repo, config, config_digest, ns)
    text = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST,
                       "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                  "digest": config_digest, "size": 2},
                       "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": d, "size": s}
                                  for d, s in layers]}, indent=1)
    path = rig.path("manifest.json")
    with open(path, "w") as f:
        f.write(text)
    code = run("curl", "-sS", "-T", path, "-H", "Content-Type: " + MANIFEST, "-H", "Expect:", "-o", "/dev/null",
               "-w", "%{http_code}", f"{url}/v2/{repo}/manifests/{tag}", ns=ns)
    if code != "201":
        raise RuntimeError(f"push of manifest {tag} to {url} answered {code}")
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def pull(url, size, ns=None, to="/dev/null"):
    """One curl: (seconds to the first byte, seconds to the last)."""
    words = run("curl", "-sS", "-f", "-o", to, "-w", "%{time_starttransfer} %{time_total} %{size_download}", url,
                ns=ns).split()
    if int(words[2]) != size:
        raise RuntimeError(f"{url} gave {words[2]} bytes instead of {size}")
    return float(words[0]), float(words[1])


def pull_many(urls, size, ns=None):
    """One curl a URL, all at once; seconds from the first start to the last end."""
    script = "for u in \"$@\"; do curl -sS -f -o /dev/null -w '%{size_download}\\n' \"$u\" & done; wait"
    start = time.monotonic()
    done = run("bash", "-c", script, "curls", *urls, ns=ns)
    seconds = time.monotonic() - start
    if done.split() != [str(size)] * len(urls):
        raise RuntimeError(f"a pull was short: {done.split()}")
    return seconds


def check_pull(rig, url, digest, ns=None):
    """Pulls once, not measured, and compares the hash of the bytes."""
    path = os.path.join(rig.fast, "checked")
    run("curl", "-sS", "-f", "-o", path, url, ns=ns)
    found = digest_of_file(path)
    os.unlink(path)
    if found != digest:
        raise RuntimeError(f"{url} gave bytes of {found}")


class MemoryWatch:
    """The highest RssAnon + RssShmem of a process, read every 50 ms."""

    def __init__(self, pid):
        self.pid, self.highest, self.samples, self._stop = pid, 0, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(0.05):
            self.highest = max(self.highest, rss(self.pid))
            self.samples += 1


def rss(pid):
    """RssAnon + RssShmem in MiB."""
    with open(f"/proc/{pid}/status") as f:
        kib = [int(line.split()[1]) for line in f if line.startswith(("RssAnon:", "RssShmem:"))]
    return sum(kib) / 1024


def check_pull_of_manifest(url, digest, ns=None):
    """Pulls once, not measured, and compares the hash of the bytes."""
    text = run("curl", "-sS", "-f", "-H", "Accept: " + MANIFEST, url, ns=ns)
    if "sha256:" + hashlib.sha256(text.encode()).hexdigest() != digest:
        raise RuntimeError(f"{url} gave another manifest")
