"""The images as their users run them: the command lines as written, three nodes by Compose, a push and a pull.

Images are built around the program that tools/build made, and from source with FR_FULL (tools/check --full).
"""
import json
import os
import re
import resource
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "integration"), os.path.join(ROOT, "tests", "clients")]
from engine import DEVICES, HAD_DEVICES, Engine, base_tar, run  # noqa: E402
from harness import FASTREG, check, equal, run_cases, until  # noqa: E402
from test_clients import Image  # noqa: E402

COMPOSE = f"{ROOT}/docker-compose.rdma.yml"
IPC_LOCK = 1 << 14


class Shared:
    """One engine for all cases; the images are built once."""

    def __init__(self):
        # Letters and digits only: see Mesh of the harness.
        self.root = os.path.join(tempfile.gettempdir(), f"fastreg-test-{secrets.token_hex(6)}")
        self.engine = None
        self.skip = None

    def get(self):
        if self.skip:
            raise self.skip
        if self.engine is None:
            os.mkdir(self.root, 0o711)
            try:
                self.engine = Engine(self.root, "host")
            except Exception as error:
                self.skip = error
                raise
            self.engine.docker("import", base_tar(), "debian:bookworm-slim")
            self.engine.build("Dockerfile", "fastreg")
            self.engine.build("Dockerfile.rdma", "fastreg-rdma")
            self.engine.close()
            self.engine = Engine(self.root, "own")
        return self.engine

    def close(self):
        if self.engine:
            self.engine.close()
        shutil.rmtree(self.root, ignore_errors=True)
        if not HAD_DEVICES and os.path.isdir(DEVICES):
            os.rmdir(DEVICES)  # Docker makes the source of a bind mount


SHARED = Shared()


class Container:
    """`with Container(engine, "run", ...) as node:` a running container of a `docker run` command line."""

    def __init__(self, engine, *words):
        self.engine = engine
        self.id = engine.docker("run", "--detach", *words).strip()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print(self.logs()[-3000:])
        self.engine.docker("rm", "--force", self.id)

    def logs(self):
        done = subprocess.run(["docker", "logs", self.id], env={**os.environ, **self.engine.env}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
        return done.stdout

    def run(self, *words, **more):
        return self.engine.docker("exec", self.id, *words, **more)

    def ready(self):
        until(lambda: "node.ready" in self.logs(), "the node in the container is ready", 30)
        return self

    def status(self):
        return json.loads(self.run("fastreg", "status", "--json"))

    def permitted(self):
        return int(re.search(r"CapPrm:\s+(\w+)", self.run("cat", "/proc/1/status"))[1], 16)


def says_that_rdma_is_off(logs, status):
    """A machine without a device: the node says so in its log and in its status, and why."""
    if HAD_DEVICES:
        return
    check(re.search(r"rdma\.off why=.*no RDMA device.* chunks_go_by=tcp", logs), f"no rdma.off in {logs[-1500:]}")
    check(any("RDMA is off, chunks go by TCP" in warning for warning in status["warnings"]), f"{status['warnings']}")
    equal(status["rdma"]["enabled"], False, "rdma.enabled")


def run_line():
    """The `docker run` of Dockerfile.rdma's head."""
    with open(f"{ROOT}/Dockerfile.rdma") as f:
        text = f.read().replace("\\\n#", "")
    words = shlex.split(re.search(r"^#\s+docker run (.*)$", text, re.M)[1])
    equal(words, shlex.split("--cap-add=IPC_LOCK --device=/dev/infiniband -v /dev/infiniband:/dev/infiniband "
                             "-p 8080:8080 -p 9999:9999 fastreg-rdma --rdma-enabled --rdma-listen-port=9999"),
          "the documented line")
    return words


def test_the_files():
    """The packages are those the program is linked with, and the mesh of the compose file is what its users expect."""
    needed = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "--dynamic", FASTREG))
    found = dict(re.findall(r"(\S+) => (\S+)", run("ldd", FASTREG)))
    places = {os.path.realpath(found[name]) for name in needed if name in found}
    owners = run("dpkg-query", "--search", *(f"*/{name}" for name in needed)).splitlines()
    wanted = {line.split(":")[0] for line in owners if os.path.realpath(line.split(": ")[1]) in places}
    wanted -= {"libc6", "libgcc-s1"}  # every Debian has these
    check({"libibverbs1", "librdmacm1", "libstdc++6", "libuv1"} <= wanted, f"the program is linked with {wanted}")
    for name in ("Dockerfile", "Dockerfile.rdma"):
        with open(f"{ROOT}/{name}") as f:
            text = f.read()
        runtime = text[:text.index(" AS build")].split()
        equal(sorted(p for p in wanted if p not in runtime), [], f"packages that {name} lacks")
        check("debian:bookworm-slim" in runtime and "8080" in runtime, f"{name} has lost its base or its ports")
    # By Debian's Python, which has python3-yaml; another one in the PATH may not.
    to_json = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))"
    with open(COMPOSE) as f:
        compose = json.loads(run("/usr/bin/python3", "-c", to_json, stdin=f))
    nodes = {name: service for name, service in compose["services"].items() if name != "key"}
    equal(sorted(nodes), ["node1", "node2", "node3"], "services")
    for name, node in nodes.items():
        equal(node["ports"], [f"890{name[-1]}:8080", f"990{name[-1]}:9999"], f"ports of {name}")
        equal(node["ulimits"]["memlock"], {"soft": -1, "hard": -1}, f"memlock of {name}")
        seeds = {word for word in node["command"] if word.startswith("--join=")}
        equal(seeds, {f"--join={other}:7946" for other in nodes if other != name}, f"seeds of {name}")
        check("--remote-writes=allow" in node["command"], f"{name} takes no pushes")
        check(f"{name}:/var/lib/fastreg" in node["volumes"], f"{name} has no volume of its own")


def test_the_run_line():
    """As written, as a user that is not root: it serves, says that RDMA is off, and has the right to pin memory."""
    engine = SHARED.get()
    with Container(engine, "--health-interval=1s", *run_line()) as node:
        node.ready()
        equal(node.run("id", "-u").strip(), "10001", "the user")
        says_that_rdma_is_off(node.logs(), node.status())
        engine.inside("curl", "-sSf", "http://127.0.0.1:8080/livez")
        equal(node.permitted(), IPC_LOCK, "capabilities the program may take up")
        check("libibverbs" in node.run("ldd", "/usr/local/bin/fastreg"), "linked without verbs")
        node.run("test", "-x", "/usr/bin/ibv_devinfo")
        until(lambda: json.loads(engine.docker("inspect", node.id))[0]["State"]["Health"]["Status"] == "healthy",
              "the health check passes", 20)


def test_fewer_rights():
    """Without the capability, and where none may be gained, the program starts all the same, and has none."""
    engine = SHARED.get()
    for flags in ((), ("--cap-drop=ALL",), ("--cap-add=IPC_LOCK", "--security-opt=no-new-privileges")):
        with Container(engine, *flags, "--read-only", "fastreg-rdma", "--rdma-enabled") as node:
            equal(node.ready().permitted(), 0, f"capabilities with {flags}")


def test_a_volume():
    """The data outlives its container; SIGTERM ends the node in order, within the ten seconds that Docker gives."""
    engine = SHARED.get()
    ids = []
    for _ in range(2):
        with Container(engine, "-p", "8080:8080", "-v", "kept:/var/lib/fastreg", "fastreg") as node:
            ids.append(node.ready().status()["node_id"])
            says = node.run("fastreg", "peers")
            check(ids[-1][:8] in says, says)
            engine.docker("stop", node.id)
            state = json.loads(engine.docker("inspect", node.id))[0]["State"]
            equal(state["ExitCode"], 0, "exit code after docker stop")
            check("clean=false" not in node.logs(), "the node was not stopped in order")
    equal(ids[0], ids[1], "the identity")
    engine.docker("volume", "rm", "kept")


class Mesh:
    """The three nodes of the compose file."""

    def __init__(self, engine):
        self.engine = engine
        self.files = ["-f", COMPOSE]
        # Who may not raise the limit may not ask for it either, and runc refuses to start the container.
        hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        with open("/proc/self/status") as f:
            may_raise = int(re.search(r"CapEff:\s+(\w+)", f.read())[1], 16) >> 24 & 1
        if hard != resource.RLIM_INFINITY and not may_raise:
            path = os.path.join(SHARED.root, "memlock.yml")
            limit = {"ulimits": {"memlock": {"soft": hard, "hard": hard}}}
            with open(path, "w") as f:
                json.dump({"services": {f"node{n}": limit for n in (1, 2, 3)}}, f)
            self.files += ["-f", path]

    def __call__(self, *words, **more):
        return self.engine.compose(*self.files, *words, **more)

    def up(self):
        self("up", "--detach", "--no-build")
        for n in (1, 2, 3):
            until(lambda n=n: self.status(n).get("members", {}).get("alive") == 3, f"node{n} sees three members", 40)

    def status(self, n):
        text = self("exec", "-T", f"node{n}", "fastreg", "status", "--json", code=None)
        return json.loads(text) if text.startswith("{") else {}

    def node_ids(self):
        return [self.status(n)["node_id"] for n in (1, 2, 3)]

    def logs(self, n):
        return self("logs", "--no-color", f"node{n}")


def pull_and_compare(engine, image, port):
    out = os.path.join(SHARED.root, "out")
    engine.inside("skopeo", "copy", "--src-tls-verify=false", f"docker://127.0.0.1:{port}/team/app:v1", f"oci:{out}:v1")
    image.same_as(out)
    shutil.rmtree(out)


def test_the_mesh():
    """Pushed to one container, pulled from another, bit for bit; the nodes say that they run on TCP."""
    engine = SHARED.get()
    mesh = Mesh(engine)
    image = Image(SHARED.root, salt="containers")
    try:
        mesh.up()
        for n in (1, 2, 3):
            says_that_rdma_is_off(mesh.logs(n), mesh.status(n))
        engine.inside("skopeo", "copy", "--dest-tls-verify=false", f"oci:{image.dir}:v1",
                      "docker://127.0.0.1:8901/team/app:v1")
        pull_and_compare(engine, image, 8903)
        engine.docker("pull", "127.0.0.1:8902/team/app:v1")
        shown = json.loads(engine.docker("image", "inspect", "127.0.0.1:8902/team/app:v1"))[0]
        equal(shown["Id"], image.content["config"]["digest"], "the image that Docker unpacked")
        equal(shown["RepoDigests"], [f"127.0.0.1:8902/team/app@{image.manifest}"], "its manifest")
        engine.docker("tag", "127.0.0.1:8902/team/app:v1", "127.0.0.1:8903/team/again:v2")
        engine.docker("push", "127.0.0.1:8903/team/again:v2")
        engine.docker("pull", "127.0.0.1:8901/team/again:v2")
        size = sum(layer["size"] for layer in image.content["layers"])
        moved = sum(mesh.status(n)["bytes"]["in"]["peer"]["tcp"] for n in (1, 2, 3))
        check(moved >= 2 * size, f"{moved} bytes moved between the nodes, of an image of {size}")

        # Taken down and brought up again: the key, the identities and the image are those of before.
        ids = mesh.node_ids()
        mesh("down")
        mesh.up()
        equal(mesh.node_ids(), ids, "identities")
        pull_and_compare(engine, image, 8902)
    except BaseException:
        for n in (1, 2, 3):
            print(mesh("logs", "--no-color", "--tail", "15", f"node{n}", code=None))
        raise
    finally:
        mesh("down", "--volumes", code=None)


if __name__ == "__main__":
    try:
        run_cases(sys.modules[__name__])
    finally:
        SHARED.close()
