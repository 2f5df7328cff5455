"""A real mesh under a sanitizer: push, swarm, death, uploads through another node, a clean stop."""
import os
import sys
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))
from harness import Mesh, check, digest_of, equal, run_cases, until  # noqa: E402


def test_a_mesh_at_work():
    """Whatever the sanitizer finds ends the node with a report in its log."""
    with Mesh(3, "--replicas", "2") as mesh:
        layers = [os.urandom(9_000_000), os.urandom(300_000), b""]
        _, text = mesh[1].push_manifest("a/b", "v", layers)

        def pull(node):
            for layer in layers:
                equal(node.get(f"/v2/a/b/blobs/{digest_of(layer)}").body, layer, "layer")
            equal(node.get("/v2/a/b/manifests/v").body, text, "manifest")

        threads = [threading.Thread(target=pull, args=(node,)) for node in mesh.nodes for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        data = os.urandom(700_000)
        place = mesh[1].request("POST", "/v2/a/c/blobs/uploads/").header("Location")
        done = mesh[2].request("PUT", f"{place}?digest={digest_of(data)}", data)
        equal(done.status, 201, "an upload through another node")
        for node in mesh.nodes:
            node.status(), node.peers(), node.json("blobs"), node.json("blob", digest_of(layers[0]))
        mesh[3].kill()
        for node in (mesh[1], mesh[2]):
            pull(node)
        for node in (mesh[1], mesh[2]):
            code = node.stop()
            check(code == 0, f"node {node.number} ended with {code}: {node.log_tail(40)}")
        for node in mesh.nodes:
            text = node.log_text()
            check("Sanitizer" not in text and "runtime error" not in text, text[-4000:])


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
