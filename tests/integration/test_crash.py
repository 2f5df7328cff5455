"""kill -9 in the middle of things: what was acknowledged is there, nothing half is served."""
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Mesh, check, digest_of, equal, run_cases, until  # noqa: E402

MIB = 1 << 20
ROUNDS = int(os.environ.get("FR_ROUNDS", "5"))


def test_kill_in_the_middle_of_a_push():
    """A 201 is a promise; a push without one leaves nothing that could be taken for a blob."""
    rng = random.Random(7)
    with Mesh(1) as mesh:
        node = mesh[1]
        acknowledged = []
        for _ in range(ROUNDS):
            stop = threading.Event()

            def push():
                while not stop.is_set():
                    data = rng.randbytes(rng.choice([10, 200_000, 3_000_000]))
                    try:
                        acknowledged.append((node.push_blob("c/c", data), data))
                    except Exception:  # the node was killed under it
                        return

            pushers = [threading.Thread(target=push) for _ in range(3)]
            for t in pushers:
                t.start()
            time.sleep(rng.uniform(0.2, 0.7))
            node.kill()
            stop.set()
            for t in pushers:
                t.join()
            node.start(*mesh.flags)
            for digest, data in acknowledged[-40:]:
                answer = node.get(f"/v2/c/c/blobs/{digest}")
                equal(answer.status, 200, "an acknowledged blob")
                check(answer.body == data, "its bytes")
        check(len(acknowledged) > ROUNDS, f"only {len(acknowledged)} pushes were acknowledged")
        done = node.cli("verify")
        check("bad" not in done.stdout.lower() or "0 bad" in done.stdout.lower(), done.stdout)


def test_kill_in_the_middle_of_a_pull():
    """A node killed while it pulls goes on after its restart, and never serves a half blob as a whole."""
    with Mesh(2, "--replicas", "1") as mesh:
        data = os.urandom(150_000_000)
        digest = mesh[1].push_blob("p/p", data)
        url = f"/v2/p/p/blobs/{digest}"
        for _ in range(3):
            with mesh[2].connect() as s:
                s.sendall(f"GET {url} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                got = 0
                while got < 20_000_000 and (piece := s.recv(1 << 20)):
                    got += len(piece)
                mesh[2].kill()
            mesh.restart(mesh[2])
            mesh.settle()
        answer = mesh[2].get(url)
        equal(answer.status, 200, "after the kills")
        equal(digest_of(answer.body), digest, "the bytes")


def test_power_fails_everywhere_and_one_node_stays_away():
    """No disk is lost, so nothing may be unreadable for long; and who says 200 to /readyz does answer."""
    with Mesh(4) as mesh:
        tags = [f"team/app{n}" for n in range(12)]
        for n, repo in enumerate(tags):
            mesh[1 + n % 4].push_manifest(repo, "v1", [repo.encode() * 100])
        time.sleep(4)  # what the owners know of each other is on disk a second after it came about
        for node in mesh.nodes:
            node.kill()
        for node in mesh.nodes[:3]:
            mesh.restart(node)
        for node in mesh.nodes[:3]:
            until(lambda n=node: n.get("/readyz").status == 200, f"node {node.number} is ready", 30)
        for node in mesh.nodes[:3]:
            for repo in tags:
                got = node.get(f"/v2/{repo}/manifests/v1", Accept="*/*")
                equal(got.status, 200, f"node {node.number} reads {repo}")
        mesh[1].push_manifest("team/app0", "v2", [b"more"])
        mesh.restart(mesh[4])
        mesh.settle()
        until(lambda: mesh[4].get("/v2/team/app0/manifests/v2", Accept="*/*").status == 200, "what it missed")


def test_cached_copies_make_room():
    """A node with room for three of six blobs serves all six, and keeps what is pinned."""
    with Mesh(1, "--replicas", "1") as mesh:
        small = mesh.add("--store-max-bytes", "7MiB", "--store-min-free", "0")
        mesh.settle()
        blobs = [os.urandom(2 * MIB) for _ in range(6)]
        digests = [mesh[1].push_blob("a/b", blob) for blob in blobs]

        def pull(n):
            equal(digest_of(small.get(f"/v2/a/b/blobs/{digests[n]}").body), digests[n], f"blob {n}")

        pull(0)
        small.cli("pin", digests[0])
        for n in [*range(1, 6), 1, 2]:
            pull(n)
        status = small.status()["store"]
        check(status["blobs"] <= 3 and status["bytes"] <= 7 * MIB, status)
        kept = {blob["digest"]: blob for blob in small.json("blobs")}
        check(kept[digests[0]]["pinned"], kept)
        check("store.evicted" in small.log_text(), "the log tells of it")
        small.cli("unpin", digests[0])
        for n in range(3, 6):
            pull(n)
        check(digests[0] not in [blob["digest"] for blob in small.json("blobs")], "it may go")
        # The directory was told: who asks the mesh is not sent here in vain.
        holders = mesh[1].json("blob", digests[0])["holders"]
        equal([holder["node_id"] for holder in holders], [mesh[1].status()["node_id"]], "holders of what went")


def test_a_full_disk_refuses_and_recovers():
    """A store at its limit says so, keeps what it has, and serves on."""
    with Mesh(1, "--store-max-bytes", "8MiB", "--store-min-free", "0") as mesh:
        node = mesh[1]
        small = os.urandom(1_000_000)
        kept = node.push_blob("d/d", small)
        place = node.request("POST", "/v2/d/d/blobs/uploads/").header("Location")
        big = os.urandom(20_000_000)
        try:
            refused = node.request("PUT", f"{place}?digest={digest_of(big)}", big)
            check(refused.status in (413, 500, 503, 507), f"a push over the limit: {refused.status}")
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the body was read
        equal(node.get(f"/v2/d/d/blobs/{kept}").body, small, "what was there is served")
        until(lambda: node.status()["store"]["bytes"] < 4_000_000, "the refused bytes are given back")
        node.push_blob("d/d", os.urandom(1_000_000))


def test_a_damaged_meta_db_is_restored_from_the_running_backup():
    """A node that was never stopped in order has a backup all the same, and says in one line that it took it."""
    with Mesh(1, "--store-backup-every", "1s") as mesh:
        node = mesh[1]
        layer = os.urandom(100_000)
        digest = node.push_blob("b/b", layer)
        manifest, _ = node.push_manifest("b/b", "v1", [layer])
        meta = os.path.join(node.data_dir, "meta.db")

        def backed_up():
            if not os.path.exists(meta + ".bak"):
                return False
            with open(meta + ".bak", "rb") as f:
                return b"v1" in f.read()

        until(backed_up, "the tag is in the backup")
        node.kill()
        for path in (meta, meta + "-wal"):  # SQLite would take the pages of one from the other
            with open(path, "r+b") as f:
                f.write(b"\x5a" * 4096)
        mesh.restart(node)
        lines = [line for line in node.log_text().splitlines() if "store.meta_" in line]
        equal(len(lines), 1, f"lines about meta.db: {lines}")
        check("store.meta_restored" in lines[0] and "meta.db.bak" in lines[0], lines[0])
        equal(node.get("/v2/b/b/manifests/v1").header("Docker-Content-Digest"), manifest, "the tag")
        check(node.get(f"/v2/b/b/blobs/{digest}").body == layer, "the layer")


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
