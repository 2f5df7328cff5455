"""A mesh under change: swarming, nodes that die, return, move, leave, or stop in the middle of a pull."""
import json
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import MANIFEST, Mesh, check, digest_of, equal, run_cases, until  # noqa: E402


def alive(node):
    return node.status()["members"]["alive"]


def test_many_pull_at_once_from_each_other():
    """Sharing while downloading: with one copy in the mesh, the pullers feed each other."""
    with Mesh(4, "--replicas", "1") as mesh:
        data = os.urandom(60_000_000)
        digest = mesh[1].push_blob("s/s", data)
        results = {}

        def pull(number):
            results[number] = mesh[number].get(f"/v2/s/s/blobs/{digest}").body

        threads = [threading.Thread(target=pull, args=(n,)) for n in (2, 3, 4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for number in (2, 3, 4):
            equal(digest_of(results[number]), digest, f"bytes at node {number}")
        origin = mesh[1].status()["bytes"]["out"]["peer"]["tcp"]
        check(origin < 2 * len(data), f"the only holder sent {origin} bytes for three pulls of {len(data)}")
        for number in (2, 3, 4):
            shown = mesh[number].json("blob", digest)
            equal(shown["complete"], True, "complete")
            equal(sum(s["bytes"] for s in shown["sources"]), len(data), "sources add up to the blob")
        helped = [sum(1 for s in mesh[n].json("blob", digest)["sources"]) for n in (2, 3, 4)]
        check(max(helped) >= 2, f"somebody had more than one source: {helped}")


def test_a_pull_survives_the_death_of_its_source():
    """A peer that dies mid-blob is replaced; the client sees one unbroken body."""
    with Mesh(3, "--replicas", "2") as mesh:
        data = os.urandom(100_000_000)
        _, _ = mesh[1].push_manifest("k/k", "v", [data])
        digest = digest_of(data)
        cold = next(n for n in mesh.nodes if not any(b["digest"] == digest for b in blobs(n)))
        holders = [n for n in mesh.nodes if n is not cold]
        victim = holders[0] if holders[0] is not mesh[1] else holders[1]
        got = bytearray()
        with cold.connect(60) as s:
            s.sendall(f"GET /v2/k/k/blobs/{digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            while len(got) < 5_000_000:
                got += s.recv(1 << 20)
            victim.kill()
            while piece := s.recv(1 << 20):
                got += piece
        body = bytes(got).partition(b"\r\n\r\n")[2]
        equal(digest_of(body), digest, "the body")


def test_a_dead_node_is_noticed_and_comes_back():
    """Death is seen within the time of the protocol; the same id returns with a higher epoch."""
    with Mesh(3) as mesh:
        mesh[3].kill()
        until(lambda: mesh[1].status()["members"]["dead"] == 1, "node 3 is seen dead", 60)
        node_id = [p for p in mesh[1].peers() if p["name"] == "node3"][0]["node_id"]
        mesh.restart(mesh[3])
        until(lambda: alive(mesh[1]) == 3 and alive(mesh[2]) == 3, "node 3 is back")
        again = [p for p in mesh[1].peers() if p["name"] == "node3"]
        equal([p["node_id"] for p in again], [node_id], "under its own id")


def test_a_node_moves():
    """The same data directory at another address is the same node, at once."""
    with Mesh(3) as mesh:
        node_id = mesh[3].status()["node_id"]
        equal(mesh[3].stop(), 0, "stopped well")
        mesh[3].ready = {}
        mesh.restart(mesh[3])
        until(lambda: alive(mesh[1]) == 3, "back at another address")
        row = [p for p in mesh[1].peers() if p["node_id"] == node_id]
        equal(row[0]["gossip_addr"], mesh[3].ready["gossip"], "the new address")


def test_leave_is_for_good():
    """`leave` tells the others and ends the process; nobody waits for a suspicion."""
    with Mesh(3) as mesh:
        mesh[3].cli("leave")
        equal(mesh[3].process.wait(40), 0, "exit code")
        until(lambda: mesh[1].status()["members"]["left"] == 1, "seen as left", 10)
        equal(mesh[1].status()["members"]["dead"], 0, "not as dead")


def test_copies_of_a_node_that_left_are_replaced():
    """One node after another leaves; what was pushed stays, as long as each waits for under_replicated 0."""
    with Mesh(4) as mesh:
        layers = [os.urandom(100_000) for _ in range(12)]
        for number, layer in enumerate(layers):
            mesh[1].push_manifest("k/x", f"v{number}", [layer])
        for leaver in (1, 2):
            mesh[leaver].cli("leave")
            equal(mesh[leaver].process.wait(40), 0, "exit code")
            for node in mesh.nodes[leaver:]:
                until(lambda n=node: n.status()["members"]["left"] == leaver, "seen as left", 10)
                until(lambda n=node: n.status()["store"]["under_replicated"] == 0, "every copy replaced", 30)
        for node in mesh.nodes[2:]:
            for number, layer in enumerate(layers):
                equal(node.get(f"/v2/k/x/manifests/v{number}").status, 200, "manifest")
                equal(node.get(f"/v2/k/x/blobs/{digest_of(layer)}").status, 200, "blob")


def test_sigterm_finishes_what_is_in_flight():
    """A rolling restart must not break a pull that is under way."""
    with Mesh(1) as mesh:
        data = os.urandom(50_000_000)
        digest = mesh[1].push_blob("t/t", data)
        with mesh[1].connect(60) as s:
            s.sendall(f"GET /v2/t/t/blobs/{digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            got = bytearray(s.recv(65536))
            mesh[1].process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            while piece := s.recv(1 << 20):
                got += piece
        equal(digest_of(bytes(got).partition(b"\r\n\r\n")[2]), digest, "the whole body came")
        equal(mesh[1].process.wait(40), 0, "then it stopped")


def test_the_first_node_dies_and_the_third_is_wiped():
    """With one node dead and one empty, tag and bytes come from the one that is left."""
    with Mesh(3) as mesh:
        layer = os.urandom(5_000_000)
        digest, text = mesh[1].push_manifest("w/w", "v", [layer])
        for node in mesh.nodes:
            equal(node.get(f"/v2/w/w/blobs/{digest_of(layer)}").body, layer, "pulled everywhere")
            equal(node.get("/v2/w/w/manifests/v").body, text, "manifest everywhere")
        mesh[1].kill()
        mesh[3].kill()
        mesh[3].wipe()
        mesh[3].start("--join", mesh[2].ready["gossip"], "--cluster-key-file", mesh.key_file())
        until(lambda: alive(mesh[3]) == 2, "node 3 is back, empty")
        answer = until(lambda: (a := mesh[3].get("/v2/w/w/manifests/v")).status == 200 and a,
                       "the tag is readable", 10)
        equal(answer.body, text, "manifest")
        equal(answer.header("Docker-Content-Digest"), digest, "digest")
        equal(mesh[3].get(f"/v2/w/w/blobs/{digest_of(layer)}").body, layer, "layer")
        equal(mesh[3].status()["bytes"]["out"]["source"]["local"], 0, "nothing came from its own disk")


def test_copies_are_made_when_somebody_joins():
    """A push to a mesh of one has one copy, and says so, also after a restart; who joins next takes the second."""
    with Mesh(1) as mesh:
        digest = mesh[1].push_blob("j/j", b"{}")
        text = json.dumps({"schemaVersion": 2, "layers": [],
                           "config": {"mediaType": "a/b", "digest": digest, "size": 2}}).encode()
        put = mesh[1].request("PUT", "/v2/j/j/manifests/v", text, {"Content-Type": MANIFEST})
        equal(put.status, 201, put.body)
        check("1 of 2 copies" in (put.header("Warning") or ""), f"the warning: {put.headers}")
        check(mesh[1].status()["store"]["under_replicated"] > 0, "counted")
        equal(mesh[1].stop(), 0, "a stop")
        mesh.restart(mesh[1])
        check(mesh[1].status()["store"]["under_replicated"] > 0, "still counted after a restart")
        mesh.add()
        until(lambda: any(b["digest"] == digest and b["home"] for b in blobs(mesh[2])), "the second copy")
        until(lambda: mesh[1].status()["store"]["under_replicated"] == 0, "no longer counted")


def blobs(node):
    listed = node.json("blobs")
    return listed["blobs"] if isinstance(listed, dict) else listed


def test_sighup_reads_the_configuration_again():
    """A seed added to the file is dialled without a restart."""
    with Mesh(1) as mesh:
        config = os.path.join(mesh.root, "fastreg.toml")
        with open(config, "w") as f:
            f.write("")
        second = mesh.make()
        second.start("--cluster-key-file", mesh.key_file(), "--config", config)
        equal(alive(second), 1, "alone")
        with open(config, "w") as f:
            f.write(f'join = ["{mesh[1].ready["gossip"]}"]\n')
        second.process.send_signal(signal.SIGHUP)
        until(lambda: alive(second) == 2, "joined after SIGHUP")


def test_sighup_changes_the_log_level():
    """To look into a node that misbehaves without stopping it; a restart would hide what is wrong."""
    with Mesh(0) as mesh:
        config = os.path.join(mesh.root, "fastreg.toml")

        def take(level):
            with open(config, "w") as f:
                f.write(f'log.level = "{level}"\n')

        def written():
            """Whether a request is told of, as it is at debug only."""
            before = node.log_text().count("http.answered")
            equal(node.get("/v2/").status, 200, "a request")
            time.sleep(0.1)
            return node.log_text().count("http.answered") > before

        take("info")
        node = mesh.make()
        node.start("--config", config, level=None)
        check(not written(), "not at info")
        take("debug")
        node.process.send_signal(signal.SIGHUP)
        until(written, "after SIGHUP")
        take("warn")
        node.process.send_signal(signal.SIGHUP)
        until(lambda: not written(), "and back")


def test_verify_finds_a_flipped_bit_and_the_mesh_heals_it():
    """Disks rot; what is found damaged is served no more, and comes back from another copy."""
    with Mesh(2) as mesh:
        layer = os.urandom(3_000_000)
        mesh[1].push_manifest("f/f", "v", [layer])
        digest = digest_of(layer)
        equal(mesh[2].get(f"/v2/f/f/blobs/{digest}").body, layer, "on both nodes")
        name = digest.split(":")[1]
        path = os.path.join(mesh[1].data_dir, "blobs", "sha256", name[:2], name)
        os.chmod(path, 0o644)
        with open(path, "r+b") as f:
            f.seek(1_234_567)
            byte = f.read(1)[0]
            f.seek(1_234_567)
            f.write(bytes([byte ^ 1]))
        done = mesh[1].cli("verify", digest, code=None)
        check(done.returncode in (1, 5), f"verify tells: {done.stdout} {done.stderr}")
        equal(mesh[1].get(f"/v2/f/f/blobs/{digest}").body, layer, "served right, from the other copy")


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
