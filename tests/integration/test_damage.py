"""What befalls the files of a node: gone, cut, grown, changed. No client sees more of it than a moment's wait."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Mesh, check, digest_of, equal, run_cases, until  # noqa: E402


def file_of(node, digest):
    name = digest.split(":")[1]
    return os.path.join(node.data_dir, "blobs", "sha256", name[:2], name)


def resize(node, digest, size):
    with open(file_of(node, digest), "r+b") as f:
        f.truncate(size)


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))


def whole(node, digest, layer):
    path = file_of(node, digest)
    return os.path.exists(path) and os.path.getsize(path) == len(layer)


def pushed(mesh, layer, repo="d/d"):
    """On the first node, with its second copy on the other."""
    mesh[1].push_manifest(repo, "v", [layer])
    return f"/v2/{repo}/blobs/{digest_of(layer)}", digest_of(layer)


def test_a_file_that_is_not_whole_is_found_at_the_start():
    """After an orderly stop it was served cut short for ever; after a crash the honest peer was blamed for it."""
    with Mesh(2) as mesh:
        node = mesh[1]
        layer = os.urandom(3_000_000)
        url, digest = pushed(mesh, layer)
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for size in (1000, 3_000_001):
                node.stop(sig)
                resize(node, digest, size)
                mesh.restart(node)
                mesh.settle()
                began = time.monotonic()
                answer = node.get(url)
                equal(answer.status, 200, f"{sig.name}, {size} bytes: {answer.body[:200]}")
                check(answer.body == layer, f"{sig.name}, {size} bytes: the layer, from the other copy")
                check(time.monotonic() - began < 5, "at once")
                until(lambda: whole(node, digest, layer), "a home has it again")
        check("peer.blamed" not in node.log_text(), "nobody is blamed for the size of a file here")


def test_a_file_that_goes_or_is_cut_under_a_running_node():
    """The request that meets it is answered from another copy; nobody is told that the blob is unknown."""
    with Mesh(2) as mesh:
        node = mesh[1]
        layer = os.urandom(3_000_000)
        url, digest = pushed(mesh, layer)
        for harm in (lambda: os.unlink(file_of(node, digest)), lambda: resize(node, digest, 1_000_000)):
            harm()
            equal(node.head(url).status, 200, "HEAD")
            answer = node.get(url)
            equal(answer.status, 200, f"GET: {answer.body[:200]}")
            check(answer.body == layer, "from the other copy")
            until(lambda: whole(node, digest, layer), "the file is there again")
            resize(node, digest, 1_000_000)
            part = node.get(url, Range="bytes=5-9,2000000-2000009")
            equal(part.status, 206, "several ranges")
            check(layer[2_000_000:2_000_010] in part.body, "of the right bytes")
            until(lambda: whole(node, digest, layer), "healed")
        # The other node asks this one for chunks of a cut file, and finds another way.
        mesh.add()
        mesh.settle()
        resize(node, digest, 1_000_000)
        answer = mesh[3].get(url)
        equal(answer.status, 200, "GET on a third node")
        check(answer.body == layer, "the right bytes")
        until(lambda: whole(node, digest, layer), "it was asked, found its file cut and has it again")


def test_a_damaged_manifest_is_answered_from_another_copy():
    """The first request was told that the digest is invalid, as if that were the client's doing."""
    with Mesh(3) as mesh:
        digest, text = mesh[1].push_manifest("d/m", "v", [b"layer"])
        holders = [node for node in mesh.nodes if os.path.exists(file_of(node, digest))]
        for node in holders:
            for harm in (lambda path: flip(path, 10), lambda path: os.truncate(path, 7), os.unlink):
                node.stop()  # it keeps what it has read in memory
                harm(file_of(node, digest))
                mesh.restart(node)
                mesh.settle()
                answer = node.get("/v2/d/m/manifests/v")
                equal((answer.status, answer.body), (200, text), "at the first request")
                until(lambda n=node: whole(n, digest, text), "healed")


def test_a_bit_flips_under_a_running_home():
    """It never spreads: the peer that is sent a bad chunk refuses it and says so, and the home reads its copy back,
    withdraws it and fetches a good one. Nobody called `verify`."""
    with Mesh(3) as mesh:
        layer = os.urandom(4_000_000)
        digest = mesh[1].push_blob("d/bits", layer)
        until(lambda: sum(os.path.exists(file_of(node, digest)) for node in mesh.nodes) == 2, "two homes")
        puller = next(node for node in mesh.nodes if not os.path.exists(file_of(node, digest)))
        rotten, = [node for node in mesh.nodes if node not in (mesh[1], puller)]
        for at in range(1000, len(layer), 128 << 10):  # in each chunk
            flip(file_of(rotten, digest), at)
        equal(puller.get(f"/v2/d/bits/blobs/{digest}").body, layer, "what a third node makes of it")
        until(lambda: "blob.doubted" in rotten.log_text(), "the home is told", 10)
        until(lambda: "blob.withdrawn" in rotten.log_text(), "it found its copy bad", 10)
        until(lambda: whole(rotten, digest, layer), "healed", 40)
        check("peer.blamed" in puller.log_text(), "the puller knew whose it was")
        equal(sum(node.log_text().count("blob.withdrawn") for node in (mesh[1], puller)), 0, "nobody else's copy went")


def test_verify_counts_a_file_that_is_gone():
    """`verify` said that all was well, with exit code 0, while the log said that the blob was withdrawn."""
    with Mesh(2) as mesh:
        node = mesh[1]
        layer = os.urandom(300_000)
        _, digest = pushed(mesh, layer)
        os.unlink(file_of(node, digest))
        done = node.cli("verify", digest, code=5)
        check("1 damaged" in done.stdout and "its file is gone" in done.stdout, done.stdout)
        until(lambda: whole(node, digest, layer), "healed")
        node.cli("verify", digest, code=0)


def test_the_only_copy_goes():
    """It is unavailable, not unknown, and who asks learns nothing of this machine's directories."""
    with Mesh(1) as mesh:
        node = mesh[1]
        layer = os.urandom(300_000)
        url, digest = pushed(mesh, layer)
        os.unlink(file_of(node, digest))
        equal(node.head(url).status, 200, "HEAD")
        answer = node.get(url)
        equal((answer.status, answer.code()), (503, "UNAVAILABLE"), "GET")
        check(mesh.root not in answer.body.decode(), answer.body)


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
