"""The real clients: push to node 1, pull from node 3, byte for byte.

Each client runs with directories and sockets of its own, on loopback, and is taken down again.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))
from harness import Mesh, Skip, check, equal, run_cases, until  # noqa: E402


def run(*command, env=None, timeout=180, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                          env={**os.environ, **(env or {})}, **more)
    check(done.returncode == 0, f"{' '.join(command[:6])} ...: {done.stdout[-600:]} {done.stderr[-1200:]}")
    return done.stdout


class Image:
    """An OCI layout of this machine's own files, and what must come back of it."""

    def __init__(self, root, size=40, salt="clients"):
        self.dir = os.path.join(root, "image")
        line = run(os.path.join(ROOT, "tools", "make-image"), self.dir, "--size", str(size), "--layers", "3",
                   "--tag", "v1", "--salt", salt)
        self.manifest = line.split()[0]
        with open(self.blob(self.manifest)) as f:
            self.content = json.load(f)

    def blob(self, digest):
        return os.path.join(self.dir, "blobs", "sha256", digest.split(":")[1])

    def digests(self):
        return [self.manifest, self.content["config"]["digest"]] + [d["digest"] for d in self.content["layers"]]

    def same_as(self, layout):
        """The pulled layout holds every blob, bit for bit."""
        for digest in self.digests():
            other = os.path.join(layout, "blobs", "sha256", digest.split(":")[1])
            check(os.path.exists(other), f"{digest} was not pulled")
            with open(self.blob(digest), "rb") as a, open(other, "rb") as b:
                check(a.read() == b.read(), f"{digest} differs")


def push_with_skopeo(mesh, image, name="team/app:v1"):
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{image.dir}:v1", f"docker://{mesh[1].ready['http']}/{name}")


def test_skopeo():
    """copy in, list, inspect and copy out by tag and by digest; copy between nodes with a mount."""
    with Mesh(3) as mesh:
        image = Image(mesh.root)
        push_with_skopeo(mesh, image)
        third = mesh[3].ready["http"]
        for i, reference in enumerate((f"{third}/team/app:v1", f"{third}/team/app@{image.manifest}")):
            out = os.path.join(mesh.root, f"out{i}")
            run("skopeo", "copy", "--src-tls-verify=false", f"docker://{reference}", f"oci:{out}:v1")
            image.same_as(out)
        tags = json.loads(run("skopeo", "list-tags", "--tls-verify=false",
                              f"docker://{mesh[2].ready['http']}/team/app"))
        equal(tags["Tags"], ["v1"], "tags")
        shown = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{third}/team/app:v1"))
        equal(shown["Digest"], image.manifest, "inspect")
        run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
            f"docker://{third}/team/app:v1", f"docker://{third}/team/copy:v2")
        out = os.path.join(mesh.root, "copied")
        run("skopeo", "copy", "--src-tls-verify=false",
            f"docker://{mesh[1].ready['http']}/team/copy:v2", f"oci:{out}:v1")
        image.same_as(out)


def test_buildah_and_podman():
    """An image built here, pushed by buildah and pulled by podman into an empty store."""
    with Mesh(3) as mesh:
        image = Image(mesh.root, salt="podman")
        def store(n):
            return ["--root", f"{mesh.root}/s{n}", "--runroot", f"{mesh.root}/r{n}", "--storage-driver", "vfs"]
        run("buildah", *store(1), "pull", f"oci:{image.dir}:v1", env={"TMPDIR": mesh.root})
        ids = json.loads(run("buildah", *store(1), "images", "--json"))
        name = f"{mesh[1].ready['http']}/team/built:v1"
        run("buildah", *store(1), "push", "--tls-verify=false", ids[0]["id"], name, env={"TMPDIR": mesh.root})
        pulled = f"{mesh[3].ready['http']}/team/built:v1"
        run("podman", *store(2), "pull", "--tls-verify=false", pulled, env={"TMPDIR": mesh.root})
        shown = json.loads(run("podman", *store(2), "inspect", pulled))[0]
        with open(image.blob(image.content["config"]["digest"])) as f:
            wanted = json.load(f)["rootfs"]["diff_ids"]
        equal(shown["RootFS"]["Layers"], wanted, "the layers podman unpacked")


def test_containerd():
    """ctr against a containerd of its own: push to node 1, pull from node 3."""
    with Mesh(3) as mesh:
        image = Image(mesh.root, salt="containerd")
        push_with_skopeo(mesh, image)
        address = os.path.join(mesh.root, "containerd.sock")
        config = os.path.join(mesh.root, "containerd.toml")
        with open(config, "w") as f:
            f.write(f'version = 2\nroot = "{mesh.root}/croot"\nstate = "{mesh.root}/cstate"\n'
                    f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{address}"\n')
        with open(os.path.join(mesh.root, "containerd.log"), "w") as log:
            daemon = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)
        mesh.processes.append(daemon)
        ctr = ["ctr", "-a", address, "-n", "test"]
        until(lambda: subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0,
              "containerd answers", 30)
        name = f"{mesh[3].ready['http']}/team/app:v1"
        run(*ctr, "content", "fetch", "--plain-http", name)
        for digest in image.digests():
            got = subprocess.run([*ctr, "content", "get", digest], capture_output=True, check=True).stdout
            with open(image.blob(digest), "rb") as f:
                check(got == f.read(), f"{digest} differs")
        pushed = f"{mesh[1].ready['http']}/team/again:v1"
        run(*ctr, "images", "tag", name, pushed)
        run(*ctr, "images", "push", "--plain-http", pushed)
        out = os.path.join(mesh.root, "out")
        run("skopeo", "copy", "--src-tls-verify=false",
            f"docker://{mesh[3].ready['http']}/team/again:v1", f"oci:{out}:v1")
        image.same_as(out)
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)


def test_docker():
    """docker against a dockerd of its own: pull from node 3, tag, push to node 1, pull from node 2."""
    if not shutil.which("dockerd"):
        raise Skip("no dockerd on this machine")
    with Mesh(3) as mesh:
        image = Image(mesh.root, salt="docker")
        push_with_skopeo(mesh, image)
        config = os.path.join(mesh.root, "daemon.json")
        socket_path = os.path.join(mesh.root, "docker.sock")
        with open(config, "w") as f:
            json.dump({"data-root": f"{mesh.root}/ddata", "exec-root": f"{mesh.root}/dexec",
                       "pidfile": f"{mesh.root}/docker.pid", "hosts": [f"unix://{socket_path}"],
                       "bridge": "none", "iptables": False, "insecure-registries": ["127.0.0.0/8"]}, f)
        log_path = os.path.join(mesh.root, "dockerd.log")
        with open(log_path, "w") as log:
            daemon = subprocess.Popen(["dockerd", "--config-file", config], stdout=log, stderr=log)
        mesh.processes.append(daemon)
        docker = ["docker", "-H", f"unix://{socket_path}"]
        try:
            until(lambda: subprocess.run([*docker, "version"], capture_output=True, check=False).returncode == 0
                  or daemon.poll() is not None, "dockerd answers", 40)
            if daemon.poll() is not None:
                with open(log_path) as f:
                    raise Skip(f"dockerd cannot start here: {f.read()[-300:]}")
            name = f"{mesh[3].ready['http']}/team/app:v1"
            run(*docker, "pull", name)
            shown = json.loads(run(*docker, "image", "inspect", name))[0]
            with open(image.blob(image.content["config"]["digest"])) as f:
                wanted = json.load(f)["rootfs"]["diff_ids"]
            equal(shown["RootFS"]["Layers"], wanted, "the layers docker unpacked")
            equal(shown["Id"], image.content["config"]["digest"], "the image id is the config's digest")
            pushed = f"{mesh[1].ready['http']}/team/docker:v1"
            run(*docker, "tag", name, pushed)
            run(*docker, "push", pushed)
            run(*docker, "rmi", name, pushed)
            run(*docker, "pull", f"{mesh[2].ready['http']}/team/docker:v1")
            shown = json.loads(run(*docker, "image", "inspect", f"{mesh[2].ready['http']}/team/docker:v1"))[0]
            equal(shown["Id"], image.content["config"]["digest"], "the same image from another node")
        finally:
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(30)
            except subprocess.TimeoutExpired:
                daemon.kill()
            with open("/proc/mounts") as f:
                mounts = [line.split()[1] for line in f if line.split()[1].startswith(mesh.root)]
            for mount in sorted(mounts, reverse=True):
                subprocess.run(["umount", "-l", mount], check=False)


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
