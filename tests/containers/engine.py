"""A dockerd of the test's own: its directories, its socket, its mounts, its processes and, if wanted, its network.

All of it is in namespaces that end with the process, so a test that is killed leaves no container behind. As a program
it makes the base image, if there is none yet.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))
from harness import FASTREG, Skip, check  # noqa: E402

# Made by debootstrap, in half a minute to two; the real one comes from a registry that tests do not ask.
BASE = os.environ.get("FASTREG_BASE_IMAGE", "/var/cache/fastreg/bookworm-slim.tar")
BASE_DAYS = 14
DEVICES = "/dev/infiniband"
HAD_DEVICES = os.path.isdir(DEVICES) and bool(os.listdir(DEVICES))  # a folder alone is none


def run(*command, env=None, timeout=240, code=0, **more):
    """What it printed; `code` None takes every exit code."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                          env={**os.environ, **(env or {})}, **more)
    check(code is None or done.returncode == code,
          f"{' '.join(command)[:300]}: exit {done.returncode}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    return done.stdout


def base_tar():
    """A root file system of Debian 12 as a tar, from where this machine's apt gets its packages."""
    if os.path.exists(BASE) and time.time() - os.path.getmtime(BASE) < BASE_DAYS * 86400:
        return BASE
    os.makedirs(os.path.dirname(BASE), exist_ok=True)
    work = f"{BASE}.{os.getpid()}"
    sources = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    mirrors = [line.split()[0] for line in sources.splitlines() if line.split()[1:] == ["bookworm", "main"]]
    try:
        run("debootstrap", "--variant=minbase", "bookworm", work, *mirrors[:1], timeout=900)
        # The builds ask the same mirror in the same way.
        settings = [line for line in run("apt-config", "dump", "Acquire").splitlines()
                    if line.startswith(("Acquire::http", "Acquire::Check", "Acquire::Retries"))]
        with open(f"{work}/etc/apt/apt.conf.d/90host", "w") as f:
            f.write("\n".join(settings) + "\n")
        run("tar", "-C", work, "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "--exclude=./dev/*",
            "-cf", f"{work}.tar", ".")
        os.rename(f"{work}.tar", BASE)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if os.path.exists(f"{work}.tar"):
            os.unlink(f"{work}.tar")
    return BASE


class Engine:
    """Where this machine has no RDMA devices the engine sees files of devices that nothing is behind, so that command
    lines which name them can be run as they are written.

    `network`: "own" has a loopback and Docker's bridges and reaches nobody; "host" is for builds, which call apt."""

    def __init__(self, root, network):
        self.root = root
        self.socket = f"{root}/docker.sock"
        self.env = {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0", "COMPOSE_PROJECT_NAME": "frtest"}
        config = {"data-root": f"{root}/data", "exec-root": f"{root}/exec", "pidfile": f"{root}/docker.pid",
                  "hosts": [f"unix://{self.socket}"], "insecure-registries": ["127.0.0.0/8"],
                  "cgroup-parent": f"/{os.path.basename(root)}"}
        if network == "host":
            config.update({"bridge": "none", "iptables": False, "ip-forward": False})
        with open(f"{root}/daemon.json", "w") as f:
            json.dump(config, f)
        for program in ("dockerd", "unshare", "nsenter"):
            if not shutil.which(program):
                raise Skip(f"no engine can start here: there is no {program}")
        inside = "set -e; ip link set lo up; mkdir -p /run/containerd; mount -t tmpfs none /run/containerd; "
        if not HAD_DEVICES:
            inside += (f"mkdir -p {DEVICES}; mount -t tmpfs -o mode=755 none {DEVICES}; "
                       f"mknod -m 666 {DEVICES}/uverbs0 c 231 192; mknod -m 666 {DEVICES}/rdma_cm c 10 58; ")
        inside += 'exec dockerd "$@"'
        with open(f"{root}/dockerd.log", "a") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                 *(["--net"] if network == "own" else []),
                 "sh", "-c", inside, "dockerd", "--config-file", f"{root}/daemon.json"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while subprocess.run(["docker", "version"], env={**os.environ, **self.env}, capture_output=True,
                             check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                self.close()
                with open(f"{root}/dockerd.log") as f:
                    raise Skip(f"no engine can start here: {f.read()[-400:]!r}")
            time.sleep(0.1)

    def pid(self):
        """Of dockerd, as this machine counts."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return f.read().split()[0]

    def docker(self, *words, **more):
        return run("docker", *words, env=self.env, **more)

    def compose(self, *words, **more):
        return run("docker-compose", *words, env=self.env, **more)

    def inside(self, *words, **more):
        """Runs a program of this machine on the engine's network."""
        return run("nsenter", "--net", "--target", self.pid(), *words, **more)

    def build(self, dockerfile, tag):
        """As it is written, from source, with FR_FULL; else around the program that tools/build made."""
        if os.environ.get("FR_FULL"):
            self.docker("build", "--network", "host", "--tag", tag, "--file", f"{ROOT}/{dockerfile}", ROOT,
                        timeout=2400)
            return
        with open(f"{ROOT}/{dockerfile}") as f:
            text, count = re.subn(r"^FROM \S+ AS build\n(.*\n)*?(?=FROM )", "", f.read(), flags=re.M)
        context = os.path.join(self.root, "context")
        os.makedirs(context, exist_ok=True)
        shutil.copy(f"{ROOT}/LICENSE", context)
        shutil.copy(FASTREG, f"{context}/fastreg")
        with open(f"{context}/Dockerfile", "w") as f:
            f.write(text.replace("COPY --from=build /fastreg ", "COPY fastreg "))
        check(count == 1 and "COPY --from=build /fastreg " in text, f"{dockerfile} has no stage `build` any more")
        self.docker("build", "--network", "host", "--tag", tag, context)

    def close(self):
        if self.process.poll() is None:
            containers = self.docker("ps", "-aq", code=None).split()
            if containers:
                self.docker("rm", "--force", "--volumes", *containers, code=None)
            try:
                os.kill(int(self.pid()), signal.SIGTERM)
                self.process.wait(20)
            except (subprocess.TimeoutExpired, OSError, IndexError):
                self.process.kill()  # and with it all that is in its namespaces
        self.process.wait()
        group = os.path.basename(self.root)
        for top in ["/sys/fs/cgroup", *(f"/sys/fs/cgroup/{name}" for name in os.listdir("/sys/fs/cgroup"))]:
            for folder, _, _ in os.walk(f"{top}/{group}", topdown=False):
                with contextlib.suppress(OSError):  # the last of its processes may not be gone yet
                    os.rmdir(folder)


if __name__ == "__main__":
    print(base_tar())
