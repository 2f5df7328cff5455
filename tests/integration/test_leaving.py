"""Nodes that leave for good: what only they kept is handed off first, also when they are killed in the middle."""
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Mesh, check, digest_of, equal, run_cases, until  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
ROUNDS = int(os.environ.get("FR_ROUNDS", "3"))


def push_images(node, count, size):
    """{repository: (digest of the manifest, layer)}"""
    images = {}
    for n in range(count):
        layer = os.urandom(size)
        digest, _ = node.push_manifest(f"team/app{n}", "v1", [layer])
        images[f"team/app{n}"] = (digest, layer)
    return images


def all_there(node, images, words):
    for repo, (digest, layer) in images.items():
        got = node.get(f"/v2/{repo}/manifests/v1", Accept="*/*")
        equal(got.status, 200, f"{words}: {repo} by tag")
        equal(digest_of(got.body), digest, f"{words}: the manifest of {repo}")
        blob = node.get(f"/v2/{repo}/blobs/{digest_of(layer)}")
        equal(digest_of(blob.body), digest_of(layer), f"{words}: the layer of {repo}: {blob.status}")


def test_what_only_one_node_kept_is_elsewhere_when_it_has_left():
    """One copy of everything, and its node leaves."""
    with Mesh(3, "--replicas", "1") as mesh:
        images = push_images(mesh[1], 8, 300_000)
        left = mesh[1].json("leave")
        equal(left["state"], "left", left)
        equal((left["blobs_left"], left["shards_left"]), (0, 0), left)
        check(left["blobs"] >= 16, left)
        equal(mesh[1].process.wait(20), 0, "exit code")
        for node in mesh.nodes[1:]:
            until(lambda n=node: n.status()["members"]["left"] == 1, "seen as left", 10)
            all_there(node, images, f"node {node.number}")
        all_there(mesh.restart(mesh[1]) or mesh[1], images, "the node that left, back as a new member")


def test_one_after_the_other_leaves_with_the_only_copy():
    with Mesh(4, "--replicas", "1") as mesh:
        images = push_images(mesh[1], 4, 200_000)
        for leaver in (1, 2, 3):
            mesh[leaver].cli("drain")
            for node in mesh.nodes[leaver:]:
                until(lambda n=node, k=leaver: n.status()["members"]["left"] == k, "seen as left", 10)
        all_there(mesh[4], images, "the last node")


def test_killed_in_the_middle_of_handing_off():
    """Nothing is given up before it is elsewhere; the next attempt goes on."""
    rng = random.Random(11)
    with Mesh(3, "--replicas", "1") as mesh:
        images = push_images(mesh[1], 30, 200_000)
        for _ in range(ROUNDS):
            mesh[1].cli("leave", "--no-wait")
            time.sleep(rng.uniform(0, 0.4))
            mesh[1].kill()
            mesh.restart(mesh[1])
            mesh.settle()
        mesh[1].cli("leave")
        for node in mesh.nodes[1:]:
            all_there(node, images, f"node {node.number}")


def test_a_node_that_hands_off_is_read_from_and_takes_no_pushes():
    with Mesh(2, "--replicas", "1") as mesh:
        kept = os.urandom(3 * MIB)
        digest = mesh[1].push_blob("a/b", kept)
        mesh.add("--store-max-bytes", "1MiB", "--store-min-free", "0")
        mesh.settle()
        mesh[2].cli("leave")  # nobody is left who has room
        until(lambda: mesh[1].status()["members"]["left"] == 1, "seen as left", 10)
        mesh[1].cli("drain", "--no-wait")
        until(lambda: (mesh[1].status()["handoff"] or {}).get("waits_for"), "it waits for somebody with room", 20)
        status = mesh[1].status()
        equal(status["state"], "draining", status)
        check(mesh[3].peers()[0]["name"] in status["handoff"]["waits_for"] or
              any(peer["name"] in status["handoff"]["waits_for"] for peer in mesh[3].peers()), status["handoff"])
        equal(digest_of(mesh[1].get(f"/v2/a/b/blobs/{digest}").body), digest, "read meanwhile")
        equal(mesh[1].get("/readyz").status, 503, "not ready for more")
        refused = mesh[1].request("POST", "/v2/a/b/blobs/uploads/")
        equal(refused.status, 503, "a push meanwhile")
        # Who does not want to wait is told what is lost to the mesh; it is on the disk still.
        done = mesh[1].cli("leave", "--timeout", "1s", code=5)
        check("1 blob" in done.stderr and "not handed off" in done.stderr, done.stderr)
        equal(mesh[1].process.wait(20), 0, "exit code")
        mesh.restart(mesh[1])
        until(lambda: mesh[3].status()["members"]["alive"] == 2, "it is back", 20)
        equal(digest_of(mesh[1].get(f"/v2/a/b/blobs/{digest}").body), digest, "back with the node")


def test_nobody_is_there_to_take_anything():
    with Mesh(1) as mesh:
        digest = mesh[1].push_blob("a/b", b"alone")
        done = mesh[1].cli("drain", code=1)
        check("no other member is known" in done.stderr, done.stderr)
        equal(mesh[1].status()["state"], "alive", "it goes on")
        mesh[1].push_blob("a/b", b"still taken")
        mesh[1].cli("leave")  # of a mesh of one there is nothing to lose
        equal(mesh[1].process.wait(20), 0, "exit code")
        mesh.restart(mesh[1])
        equal(mesh[1].get(f"/v2/a/b/blobs/{digest}").body, b"alone", "its disk has all of it")


def test_pushes_under_way_go_with_the_node():
    """A push that ends while the node hands off is handed off, too, or was refused."""
    with Mesh(3, "--replicas", "1") as mesh:
        images, stop = {}, threading.Event()

        def push():
            n = 0
            while not stop.is_set():
                layer = os.urandom(100 * KIB)
                try:
                    digest, _ = mesh[1].push_manifest(f"late/app{n}", "v1", [layer])
                except Exception:  # refused: it hands off, or has gone
                    return
                images[f"late/app{n}"] = (digest, layer)
                n += 1

        pusher = threading.Thread(target=push)
        pusher.start()
        until(lambda: len(images) >= 3, "pushes are under way")
        mesh[1].cli("leave")
        stop.set()
        pusher.join()
        for node in mesh.nodes[1:]:
            all_there(node, images, f"node {node.number}")


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
