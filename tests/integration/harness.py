"""Real FastReg nodes on loopback for the Python tests, and a small way to run the cases.

A case is a function named test_*; its docstring says why it matters. Cases run in file order, each
with meshes of its own; what a case starts is stopped and removed even when it fails.
"""
import hashlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

FASTREG = os.environ.get("FASTREG", "build/release/fastreg")
# Sanitizers and emulators slow a node down; waits grow with them, never what is asserted.
PATIENCE = int(os.environ.get("FR_PATIENCE", 4 if "asan" in FASTREG or "tsan" in FASTREG else 1))


class Failure(AssertionError):
    pass


class Skip(Exception):
    pass


def check(condition, words):
    if not condition:
        raise Failure(words)


def equal(got, wanted, words=""):
    if got != wanted:
        raise Failure(f"{words}: got {got!r:.400}, wanted {wanted!r:.400}")


def until(question, words, seconds=15.0):
    """Asks until the answer is true; the answer is returned."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failure(f"not within {seconds * PATIENCE:.0f} s: {words}")
        time.sleep(0.05)


def digest_of(data, alg="sha256"):
    return f"{alg}:{hashlib.new(alg, data).hexdigest()}"


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    def header(self, name):
        return self.headers.get(name)

    def json(self):
        return json.loads(self.body)

    def code(self):
        """The first error code of the distribution spec's error body."""
        return self.json()["errors"][0]["code"]


class Node:
    def __init__(self, mesh, number, data_dir):
        self.mesh, self.number, self.data_dir = mesh, number, data_dir
        self.process = None
        self.ready = {}
        self.log_path = os.path.join(mesh.root, f"node{number}.log")

    # -- life ------------------------------------------------------------------------------------
    def start(self, *flags, wait=True, env=None, replace=False, files=None, under=(), level="debug"):
        """`files`: the most descriptors the process may have; `under`: a command that runs the node; `level`:
        None leaves it to the configuration."""
        ports = self.ready if not replace else {}
        ready_file = os.path.join(self.data_dir, "ready.json")
        if os.path.exists(ready_file):
            os.unlink(ready_file)
        command = [FASTREG, "serve", "--data-dir", self.data_dir, "--name", f"node{self.number}",
                   "--advertise-addr", "127.0.0.1",
                   "--http-listen", ports.get("http", "127.0.0.1:0"),
                   "--gossip-listen", ports.get("gossip", "127.0.0.1:0"),
                   "--transfer-listen", ports.get("transfer", "127.0.0.1:0"),
                   *(["--log-level", level] if level else []), *flags]
        self.log = open(self.log_path, "a")
        limit = ["prlimit", f"--nofile={files}"] if files else []
        self.process = subprocess.Popen([*under, *limit, *command], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        self.mesh.processes.append(self.process)
        if wait:
            until(lambda: os.path.exists(ready_file) or self.process.poll() is not None,
                  f"node {self.number} is ready", 20)
            check(self.process.poll() is None,
                  f"node {self.number} stopped at start: {self.log_tail()}")
            with open(ready_file) as f:
                self.ready = json.load(f)
        return self

    def stop(self, sig=signal.SIGTERM, seconds=35):
        if self.process is None:
            return None
        self.process.send_signal(sig)
        try:
            code = self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure(f"node {self.number} did not stop on signal {sig}") from None
        return code

    def kill(self):
        self.stop(signal.SIGKILL)

    def wipe(self):
        shutil.rmtree(self.data_dir)

    def log_tail(self, lines=12):
        with open(self.log_path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def log_text(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    # -- the command line -----------------------------------------------------------------------
    def cli(self, *words, code=0):
        done = subprocess.run([FASTREG, *words, "--data-dir", self.data_dir], text=True,
                              capture_output=True, timeout=60 * PATIENCE, check=False)
        if code is not None:
            equal(done.returncode, code, f"exit of {' '.join(words)}: {done.stderr}")
        return done

    def json(self, *words):
        return json.loads(self.cli(*words, "--json").stdout)

    def status(self):
        return self.json("status")

    def peers(self):
        return self.json("peers")

    # -- HTTP -----------------------------------------------------------------------------------
    def address(self):
        host, port = self.ready["http"].rsplit(":", 1)
        return host.strip("[]"), int(port)

    def connect(self, timeout=30):
        return socket.create_connection(self.address(), timeout * PATIENCE)

    def request(self, method, path, body=None, headers=None, timeout=60, chunked=False):
        connection = http.client.HTTPConnection(*self.address(), timeout=timeout * PATIENCE)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=chunked)
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def head(self, path):
        return self.request("HEAD", path)

    def push_blob(self, repo, data, alg="sha256"):
        digest = digest_of(data, alg)
        start = self.request("POST", f"/v2/{repo}/blobs/uploads/")
        equal(start.status, 202, "start of an upload")
        place = start.header("Location")
        done = self.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data)
        equal(done.status, 201, f"end of an upload: {done.body!r}")
        return digest

    def push_manifest(self, repo, reference, layers, config=b"{}", extra=None):
        """Pushes blobs, then a manifest of them; returns (digest, bytes)."""
        def descriptor(data, media_type):
            return {"mediaType": media_type, "digest": self.push_blob(repo, data), "size": len(data)}

        manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                    "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
                    "layers": [descriptor(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
                    **(extra or {})}
        text = json.dumps(manifest, indent=1).encode()
        done = self.request("PUT", f"/v2/{repo}/manifests/{reference}", text, {"Content-Type": MANIFEST})
        equal(done.status, 201, f"manifest push: {done.body!r}")
        return digest_of(text), text


MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Mesh:
    """`with Mesh(3) as mesh:` three nodes that see each other."""

    def __init__(self, count=1, *flags, start=True):
        # Letters and digits only: clients take the path as an image's name, where "-_" is refused.
        self.root = os.path.join(tempfile.gettempdir(), f"fastreg-test-{secrets.token_hex(6)}")
        os.mkdir(self.root, 0o700)
        self.processes = []
        self.nodes = []
        self.flags = flags
        if start:
            try:
                for _ in range(count):
                    self.add()
                self.settle()
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None and kind is not Skip:
            for node in self.nodes:
                if os.path.exists(node.log_path):
                    print(f"--- log of node {node.number}\n{node.log_tail(15)}", end="")
        self.close()

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def __getitem__(self, number):
        """Nodes count from 1, as in the words of the tests."""
        return self.nodes[number - 1]

    def key_file(self):
        return os.path.join(self.root, "cluster.key")

    def make(self):
        node = Node(self, len(self.nodes) + 1, os.path.join(self.root, f"n{len(self.nodes) + 1}"))
        self.nodes.append(node)
        return node

    def add(self, *flags):
        node = self.make()
        node.start(*self.join_flags(node), *self.flags, *flags)
        if node.number == 1:
            shutil.copy(os.path.join(node.data_dir, "cluster.key"), self.key_file())
        return node

    def join_flags(self, node):
        others = [n for n in self.nodes if n is not node and n.ready]
        if not others:
            return []
        return ["--join", others[0].ready["gossip"], "--cluster-key-file", self.key_file()]

    def restart(self, node, *flags):
        node.start(*self.join_flags(node), *self.flags, *flags)

    def settle(self, alive=None):
        alive = alive or len(self.nodes)
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                until(lambda n=node: n.status()["members"]["alive"] == alive,
                      f"node {node.number} sees {alive} members alive", 20)


def run_cases(module):
    """Runs every test_* of the module; names on the command line choose some."""
    cases = [(name, f) for name, f in vars(module).items() if name.startswith("test_")]
    chosen = sys.argv[1:]
    if unknown := set(chosen) - {name for name, _ in cases}:
        sys.exit(f"there is no case {', '.join(sorted(unknown))}")
    passed, failed = 0, 0
    for name, case in cases:
        if chosen and name not in chosen:
            continue
        start = time.monotonic()
        try:
            case()
            passed += 1
            print(f"ok      {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Skip as reason:
            print(f"SKIPPED {name}: {reason}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(traceback.format_exc())
            print(f"FAILED {name} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
