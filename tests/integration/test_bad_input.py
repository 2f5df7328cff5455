"""What a client, a peer, an operator or a disk may do wrong: refused in words that help, nothing lost."""
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import FASTREG, MANIFEST, PATIENCE, Mesh, Skip, check, digest_of, equal, run_cases, until  # noqa: E402

INDEX = "application/vnd.oci.image.index.v1+json"


def raw(node, data, seconds=20, half_close=False):
    """Sends bytes as they are; returns all that comes back until the node closes."""
    with node.connect(seconds) as s:
        s.sendall(data)
        if half_close:
            s.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while piece := s.recv(65536):
                got += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return got


def descriptors(node):
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def test_names_and_digests_that_lie():
    """Nothing a client writes may become a path outside the store, or a 500."""
    with Mesh(1) as mesh:
        node = mesh[1]
        zeros = "0" * 64
        for path, codes in (
                ("/v2/../../etc/passwd/blobs/sha256:" + zeros, {400, 404}),
                ("/v2/a/%2e%2e/%2e%2e/b/manifests/latest", {400, 404}),
                ("/v2/a%00b/manifests/latest", {400, 404}),
                ("/v2/UPPER/case/manifests/latest", {400, 404}),
                ("/v2/" + "a/" * 200 + "b/manifests/x", {400, 404}),
                ("/v2/a/b/manifests/" + "t" * 129, {400, 404}),
                ("/v2/a/b/manifests/sha256:baddigeststring", {400, 404}),
                ("/v2/a/b/blobs/sha256:" + "A" * 64, {400}),
                ("/v2/a/b/blobs/sha256:" + "0" * 63, {400}),
                ("/v2/a/b/blobs/md5:" + "0" * 32, {400}),
                ("/v2/a/b/blobs/sha256:../../../../etc/passwd", {400, 404}),
                ("/v2/a/b/blobs/sha256:" + zeros, {404})):
            answer = node.get(path)
            check(answer.status in codes, f"{path}: {answer.status} {answer.body[:200]!r}")
            if answer.status == 400:
                check(answer.json()["errors"][0]["message"], "the error says what is wrong")
        for path in ("/v2/a%00b/manifests/latest", "/v2/a/b/manifests/%00", "/v2/a/b/blobs/sha256:%00", "/%00"):
            answer = node.get(path)
            equal((answer.status, answer.header("Content-Type"), answer.json()),
                  (400, "application/json", {"errors": [{"code": "UNSUPPORTED", "message":
                   "the path has the byte 0x00 (%00), which is forbidden"}]}), path)
        equal(node.get("/v2/").status, 200, "still well")


def test_uploads_that_lie():
    """Overrun, underrun, a wrong digest, another repository's session, a session that never was."""
    with Mesh(1) as mesh:
        node = mesh[1]
        data = b"some bytes of a blob"
        place = node.request("POST", "/v2/u/one/blobs/uploads/").header("Location")
        other = node.request("PATCH", place.replace("/u/one/", "/u/two/"), data)
        equal((other.status, other.code()), (404, "BLOB_UPLOAD_UNKNOWN"), "another repository's upload")
        forged = re.sub(r"[0-9a-f]{8}$", "00000000", place)
        equal(node.request("PATCH", forged, data).status, 404, "a forged id")
        wrong = node.request("PUT", f"{place}?digest={digest_of(b'else')}", data)
        equal((wrong.status, wrong.code()), (400, "DIGEST_INVALID"), "wrong digest")
        equal(node.get(f"/v2/u/one/blobs/{digest_of(data)}").status, 404, "nothing of it is served")

        place = node.request("POST", "/v2/u/one/blobs/uploads/").header("Location")
        lying = node.request("PATCH", place, data, {"Content-Range": "0-5"})
        check(lying.status in (400, 416), f"Content-Range and length differ: {lying.status}")
        # The end of an upload that another request is still writing.
        with node.connect() as s:
            s.sendall(f"PATCH {place} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                      "Expect: 100-continue\r\n\r\n".encode())
            check(s.recv(100).startswith(b"HTTP/1.1 100 "), "it has begun")
            early = node.request("PUT", f"{place}?digest={digest_of(data)}")
            equal((early.status, early.code()), (409, "BLOB_UPLOAD_INVALID"), "refused while the other one writes")
            s.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n")
            check(s.recv(100).startswith(b"HTTP/1.1 202 "), "the one that writes goes on")
        equal(node.request("PUT", f"{place}?digest={digest_of(data)}").status, 201, "and then it can end")
        place = node.request("POST", "/v2/u/one/blobs/uploads/").header("Location")
        # A body shorter than its Content-Length: the client went away.
        with node.connect() as s:
            s.sendall(f"PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nshort".encode())
        equal(node.get(place).status, 204, "the session outlives the connection")
        end = int(node.get(place).header("Range").split("-")[1]) + 1
        check(end <= 5, f"the session holds what arrived, {end} bytes")
        until(lambda: node.request("DELETE", place).status == 204, "free again, and cancelled")
        equal(node.get(place).status, 404, "and gone")


def test_bodies_that_break_off():
    """A client that goes away is at fault itself: 400, not a 503 that would wake an operator."""
    with Mesh(2) as mesh:
        node = mesh[1]
        for through in mesh.nodes:  # the second passes the request on to the first
            place = node.request("POST", "/v2/u/cut/blobs/uploads/").header("Location")
            for method, path, framing in (("PATCH", place, "Content-Length: 1000000"),
                                          ("PATCH", place, "Transfer-Encoding: chunked"),
                                          ("PUT", f"{place}?digest={digest_of(b'x')}", "Content-Length: 100")):
                got = raw(through, f"{method} {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n5\r\nab".encode(),
                          half_close=True)
                check(got.startswith(b"HTTP/1.1 400 ") and b"BLOB_UPLOAD_INVALID" in got,
                      f"{method} with {framing} through node {through.number}: {got[:300]!r}")
                until(lambda: node.get(place).status == 204, "the session is free for the next chunk")
        for framing, code in (("Content-Length: 100", b"SIZE_INVALID"),
                              ("Transfer-Encoding: chunked", b"MANIFEST_INVALID")):
            got = raw(node, f"PUT /v2/u/cut/manifests/t HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n5\r\nab".encode(),
                      half_close=True)
            check(got.startswith(b"HTTP/1.1 400 ") and code in got, f"{framing}: {got[:300]!r}")
        with node.connect() as s:  # gone at once, without waiting for the answer
            s.sendall(f"PATCH {place} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nab".encode())
        def counted(code):
            page = ask_admin(node, "GET", "/metrics")[2].decode()
            return sum(int(line.split()[-1]) for line in page.splitlines()
                       if line.startswith("fastreg_http_requests_total") and f'code="{code}"' in line)
        until(lambda: counted("4xx") >= 6, "all are counted")
        equal(counted("5xx"), 0, "none of them as a fault of the node")


def ask_admin(node, method, path, body=b""):
    """(status, head, body) of one request over the admin socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(os.path.join(node.data_dir, "admin.sock"))
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n"
                  f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        data = b""
        while piece := s.recv(65536):
            data += piece
    head, _, answer = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), answer


def test_admin_requests_that_make_no_sense():
    """A mistyped request must not start work over the whole store, nor look like an empty store."""
    with Mesh(2) as mesh:
        node = mesh[1]
        node.push_blob("a/a", b"one blob")
        for body in (b'{"digest":5}', b'{"digest":["x"]}', b'{"digest":"sha256:x"}', b"[]", b"x"):
            equal(ask_admin(node, "POST", "/v1/verify", body)[0], 400, f"verify {body!r}")
        equal(json.loads(ask_admin(node, "GET", "/v1/verify")[2])["state"], "idle", "nothing was verified")
        equal(ask_admin(node, "POST", "/v1/verify", b'{"digest":null}')[0], 202, "null is everything")
        equal(ask_admin(node, "GET", "/v1/blobs?after=zzz")[0], 400, "after=zzz")
        equal(ask_admin(node, "GET", f"/v1/blobs?after={digest_of(b'no blob')}")[0], 200, "any digest will do")
        equal(ask_admin(node, "GET", "/v1/blobs?limit=10abc")[0], 400, "limit=10abc")
        for method, path, allow in (("POST", "/v1/status", "GET, HEAD"), ("DELETE", "/v1/blobs/x", "GET, HEAD"),
                                    ("PUT", "/v1/leave", "GET, HEAD, POST"), ("PUT", "/v1/verify", "GET, HEAD, POST")):
            status, head, _ = ask_admin(node, method, path)
            equal(status, 405, f"{method} {path}")
            check(f"\r\nAllow: {allow}\r\n" in head, f"{method} {path}: {head}")
        equal(ask_admin(node, "GET", "/v1/nothing")[0], 404, "no such path")
        def rtt():
            return [p["rtt_ms"] for p in node.peers() if not p["self"] and p["rtt_ms"]]
        until(rtt, "a round trip was measured")
        check(all(round(ms, 3) == ms for ms in rtt()), f"rounded: {rtt()}")


def test_manifests_that_are_none():
    """Over the limit, not JSON, of a foreign kind, or naming blobs that nobody pushed."""
    with Mesh(1) as mesh:
        node = mesh[1]
        def put(body, kind=MANIFEST, reference="t"):
            return node.request("PUT", f"/v2/m/m/manifests/{reference}", body, {"Content-Type": kind})
        equal(put(b"not json").status, 400, "not JSON")
        empty_index = b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % INDEX.encode()
        answer = put(b"\xef\xbb\xbf" + empty_index, INDEX)
        equal((answer.status, answer.code()), (400, "MANIFEST_INVALID"), "a byte order mark")
        equal(put(b"[" * 100_000).status, 400, "a JSON bomb")
        big = put(b'{"schemaVersion":2,"x":"' + b"a" * (4 << 20) + b'"}')
        check(big.status in (400, 413), f"over 4 MiB: {big.status}")
        missing = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
                   "config": {"mediaType": "a/b", "digest": digest_of(b"nobody has this"), "size": 15}}
        answer = put(json.dumps(missing).encode())
        equal((answer.status, answer.code()), (404, "MANIFEST_BLOB_UNKNOWN"), "a blob nobody pushed")
        child = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": digest_of(b"no manifest"), "size": 11}]}
        answer = put(json.dumps(child).encode(), INDEX)
        equal((answer.status, answer.code()), (404, "MANIFEST_BLOB_UNKNOWN"), "a child manifest nobody pushed")
        check(digest_of(b"no manifest") in answer.body.decode(), "which one")
        text = b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % INDEX.encode()
        answer = put(text, INDEX, digest_of(b"other"))
        equal((answer.status, answer.code()), (400, "DIGEST_INVALID"), "a digest that is not its own")
        answer = put(text, INDEX, f"t?digest={digest_of(b'other')}")
        equal((answer.status, answer.code()), (400, "DIGEST_INVALID"), "another digest than it promised")
        equal(node.get("/v2/m/m/manifests/t").status, 404, "and no tag of it")
        for digest in (digest_of(text), digest_of(text, "sha512")):
            equal(put(text, INDEX, f"t?digest={digest}").header("Docker-Content-Digest"), digest, "as promised")
        answer = node.get("/v2/m/m/manifests/.INVALID_MANIFEST_NAME")
        equal((answer.status, answer.code()), (404, "MANIFEST_UNKNOWN"), "nothing is under a tag that cannot be")
        equal(node.head("/v2/m/m/manifests/.INVALID_MANIFEST_NAME").status, 404, "nor for HEAD")
        answer = put(text, INDEX, ".INVALID_MANIFEST_NAME")
        equal((answer.status, answer.code()), (400, "TAG_INVALID"), "and none can be pushed")


def test_http_that_is_none():
    """Smuggling, floods of fields, TLS on the plain port: an answer or a closed door, never a hang."""
    with Mesh(1) as mesh:
        node = mesh[1]
        before = descriptors(node)
        for data, status in (
                (b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"0\r\n\r\n", b"400"),
                (b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", b"400"),
                (b"GET /v2/ HTTP/1.1\nHost: a\n\n", b"400"),
                (b"GET /v2/ HTTP/1.1\r\n" + b"X: y\r\n" * 150 + b"\r\n", b"431"),
                (b"GET /v2/ HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
                (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n", b"414"),
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, b"400"),
                (b"\0\1\2\3 nonsense\r\n\r\n", b"400")):
            got = raw(node, data)
            check(got.startswith(b"HTTP/1.1 " + status), f"{data[:60]!r}: {got[:80]!r}")
        until(lambda: descriptors(node) <= before + 2, "no descriptor is left behind")
        equal(node.get("/v2/").status, 200, "still well")


def test_slow_clients_are_cut():
    """A head that never ends must not hold a connection for ever."""
    with Mesh(1, "--limits-head-timeout", "1s") as mesh:
        node = mesh[1]
        start = time.monotonic()
        got = raw(node, b"GET /v2/ HTTP/1.1\r\nHost: a\r\n")
        check(time.monotonic() - start < 10, "cut in time")
        head, _, body = got.partition(b"\r\n\r\n")
        check(head.startswith(b"HTTP/1.1 408 ") and b"\r\nContent-Type: application/json" in head, f"{got!r}")
        equal(json.loads(body), {"errors": [{"code": "UNSUPPORTED", "message":
                                             "the request head did not arrive in time"}]}, "shaped as the spec wants")
        equal(raw(node, b""), b"", "who never said a word is hung up on")
        equal(node.get("/v2/").status, 200, "others are served")


def test_few_descriptors():
    """Uploads that nobody ends once took every descriptor: the node could not even answer its operator."""
    with Mesh(1, start=False) as mesh:
        node = mesh.make()
        node.start(files=300)
        statuses = []
        for _ in range(330):
            begun = node.request("POST", "/v2/a/b/blobs/uploads/")
            if begun.status == 202:
                begun = node.request("PATCH", begun.header("Location"), b"some bytes",
                                     {"Content-Type": "application/octet-stream"})
            statuses.append(begun.status)
        check(set(statuses) == {202, 429}, f"some begin, the others are told to wait: {set(statuses)}")
        idle = []
        for _ in range(330):
            idle.append(socket.create_connection(node.address(), timeout=10))
        equal(node.status()["state"], "alive", "the operator is answered")
        check(descriptors(node) < 300, "descriptors are left")
        for connection in idle:
            connection.close()
        until(lambda: node.get("/v2/").status == 200, "clients are served again")
        node.stop()
        check("node.few_files" in node.log_text(), "the log says that limits were lowered")


def test_strangers_on_the_mesh_ports():
    """Scanners and broken peers knock on gossip and transfer: refused, forgotten, nothing leaked."""
    with Mesh(2) as mesh:
        node = mesh[1]
        before = descriptors(node)
        for port in ("gossip", "transfer"):
            host, number = node.ready[port].rsplit(":", 1)
            for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"\0" * 16,
                         b"\xff\xff\x00\x00\x01\x00\x00\x00" + b"\0" * 8,  # a frame of 65,535 bytes, never sent
                         b"\x10\x00\x00\x00\x10\x00\x00\x00" + b"\0" * 8 + b"\x81\xa1"):  # gossip before a Hello
                with socket.create_connection((host, int(number)), 5) as s:
                    s.sendall(data)
                    s.settimeout(10)
                    try:
                        while s.recv(4096):
                            pass
                    except (TimeoutError, ConnectionResetError):
                        pass
        until(lambda: descriptors(node) <= before + 3, "no descriptor is left behind")
        equal(node.status()["members"]["alive"], 2, "the mesh does not mind")


@contextlib.contextmanager
def small_disk(path, size, *options):
    """A file system of its own at `path`, of so many bytes."""
    os.makedirs(path)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "none", path],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skip(f"cannot mount a file system here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_push_that_cannot_fit_is_refused_before_its_body():
    """A client once sent gigabytes to a node that could only refuse them at the end."""
    with Mesh(1, start=False) as mesh:
        node = mesh.make()
        with small_disk(node.data_dir, 48 << 20):
            node.start("--store-min-free", "0", "--store-max-bytes", "1TiB")
            for method, query in (("PATCH", ""), ("PUT", "?digest=" + digest_of(b"never sent"))):
                place = node.request("POST", "/v2/big/blob/blobs/uploads/").header("Location") + query
                got = raw(node, f"{method} {place} HTTP/1.1\r\nHost: a\r\nContent-Length: {1 << 30}\r\n"
                                "Expect: 100-continue\r\n\r\n".encode(), seconds=10)
                check(got.startswith(b"HTTP/1.1 507 "), f"{method}: {got[:300]!r}")
                check(b"no room for 1.0 GiB" in got and b"min-free keeps 0" in got, f"{method}: {got!r}")
                equal(node.get(place).status, 404, "the session is over")
            data = os.urandom(24 << 20)  # more than half of what there is: none is kept free
            digest = node.push_blob("big/blob", data)
            equal(node.get(f"/v2/big/blob/blobs/{digest}").body, data, "what fits is taken and served")
            equal(node.status()["state"], "alive", "still well")
            node.stop()


def endless_body(node, method, path, most=64 << 20):
    """Sends a body without a length until the node answers: (what it answered, the bytes sent until then)."""
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with node.connect() as s:
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        while sent < most and not select.select([s], [], [], 0)[0]:
            s.sendall(piece)
            sent += len(piece)
        s.settimeout(10)
        got = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while more := s.recv(65536):
                got += more
        return got, sent


def test_a_body_without_a_length_is_not_read_past_its_refusal():
    """Chunked bodies passed limits.blob-bytes, and were read to their end when the disk was full long before."""
    with Mesh(2, "--limits-blob-bytes", "1MiB") as mesh:
        for through in mesh.nodes:  # the second passes the request on to the first
            for method, query in (("PATCH", ""), ("PUT", "?digest=" + digest_of(b"another"))):
                place = mesh[1].request("POST", "/v2/end/less/blobs/uploads/").header("Location")
                got, sent = endless_body(through, method, place + query)
                words = f"{method} through node {through.number} after {sent} bytes: {got[:300]!r}"
                check(got.startswith(b"HTTP/1.1 413 ") and b"over the limit of 1.0 MiB" in got, words)
                check(b"Connection: close" in got and sent < 64 << 20, words)
                equal(mesh[1].get(place).status, 404, "the session is over")
    with Mesh(1, start=False) as mesh:
        node = mesh.make()
        with small_disk(node.data_dir, 24 << 20):
            node.start("--store-min-free", "0", "--store-max-bytes", "1TiB")
            place = node.request("POST", "/v2/end/less/blobs/uploads/").header("Location")
            got, sent = endless_body(node, "PATCH", place, 256 << 20)
            words = f"after {sent} bytes: {got[:300]!r}"
            check(got.startswith(b"HTTP/1.1 507 ") and b"no room for" in got and sent < 256 << 20, words)
            until(lambda: shutil.disk_usage(node.data_dir).free > 16 << 20, "its bytes are given back")
            node.push_blob("end/less", os.urandom(8 << 20))
            node.stop()


def refused(flags, words, code=None, env=None, through=()):
    """A start that must fail with these words, soon; `through` is a command that starts it."""
    done = subprocess.run([*through, os.path.abspath(FASTREG), "serve", *flags], capture_output=True, text=True,
                          timeout=60, env={**os.environ, **(env or {})}, check=False)
    check(done.returncode != 0, f"{flags} was accepted")
    if code is not None:
        equal(done.returncode, code, f"exit code of {flags}: {done.stderr}")
    text = done.stdout + done.stderr
    for word in words:
        check(word.lower() in text.lower(), f"{flags}: '{word}' is not in: {text}")


def test_starts_that_cannot_be():
    """An operator's mistakes are named with what to do about them."""
    with Mesh(1) as mesh:
        node = mesh[1]
        base = os.path.join(mesh.root, "x")
        free = ["--http-listen", "127.0.0.1:0", "--gossip-listen", "127.0.0.1:0",
                "--transfer-listen", "127.0.0.1:0"]
        refused(["--data-dir", node.data_dir, *free], ["in use", node.data_dir])
        check(os.path.exists(os.path.join(node.data_dir, "ready.json")), "the running node still says ready")
        refused(["--data-dir", base, *free[2:], "--http-listen", node.ready["http"]], ["in use", "--http-listen"])
        refused(["--data-dir", base, *free[:2], *free[4:], "--gossip-listen", node.ready["gossip"]],
                ["in use", "--gossip-listen"])
        refused(["--data-dir", base + "-fresh", *free, "--join", node.ready["gossip"]],
                ["copy", "key show", "--insecure-mesh"], code=2)
        refused(["--data-dir", base, *free, "--frobnicate", "1"], ["frobnicate"], code=2)
        config = os.path.join(mesh.root, "bad.toml")
        with open(config, "w") as f:
            f.write('[http]\nlistn = "127.0.0.1:0"\n')
        refused(["--data-dir", base, *free, "--config", config], ["listn", "http.listen", "bad.toml:2"], code=2)
        with open(config, "w") as f:
            f.write('replicas = "many"\n')
        refused(["--data-dir", base, *free, "--config", config], ["replicas", "bad.toml:1"], code=2)
        refused(["--data-dir", "/proc/nowhere", *free], ["/proc/nowhere"])


def grown(path):
    """A data directory as a node leaves it; returns the flags of a start on it."""
    flags = ["--data-dir", path, "--http-listen", "127.0.0.1:0", "--gossip-listen", "127.0.0.1:0",
             "--transfer-listen", "127.0.0.1:0"]
    process = subprocess.Popen([FASTREG, "serve", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: os.path.exists(os.path.join(path, "ready.json")), "a node on it was ready", 20)
        process.send_signal(signal.SIGTERM)
        equal(process.wait(30), 0, "an orderly stop")
    finally:
        process.kill()
        process.wait()
    return flags


def every_byte(path):
    """What is in a directory: by name the bytes of a file, None of anything else."""
    found = {}
    for place, directories, files in os.walk(path):
        for name in directories:
            found[os.path.join(place, name)] = None
        for name in files:
            with open(os.path.join(place, name), "rb") as f:
                found[os.path.join(place, name)] = f.read()
    return found


def test_a_newer_data_directory_is_left_as_it_is():
    """A downgrade by mistake must cost nothing: the newer release starts on the same bytes again."""
    import sqlite3  # the schema version is SQLite's own user_version
    with Mesh(1, start=False) as mesh:
        for name in ("meta.db", "cache.db"):
            path = os.path.join(mesh.root, name + "-newer")
            flags = grown(path)
            with contextlib.closing(sqlite3.connect(os.path.join(path, name))) as db:
                db.execute("PRAGMA user_version = 9999")
            before = every_byte(path)
            refused(flags, [name, "newer", "9999", "another data directory"])
            after = every_byte(path)
            equal(sorted(after), sorted(before), f"files beside a newer {name}")
            equal([f for f in before if before[f] != after[f]], [], f"changed beside a newer {name}")


def test_a_full_disk_at_the_start():
    """The start says that the disk is full, where, and what to do; with room it goes on."""
    with Mesh(1, start=False) as mesh:
        path = os.path.join(mesh.root, "full")
        with small_disk(path, 2 << 20):
            fill = os.path.join(path, "fill")
            def fill_up():
                with contextlib.suppress(OSError), open(fill, "wb", buffering=0) as f:
                    while f.write(b"x" * 4096):
                        pass
            fill_up()
            words = ["is full", path, "free some space", "--data-dir"]
            refused(["--data-dir", path, "--http-listen", "127.0.0.1:0"], words)  # nothing was there yet
            refused(["--data-dir", os.path.join(path, "a", "b")], ["free some space", "--data-dir"])
            os.unlink(fill)
            flags = grown(path)
            fill_up()
            refused(flags, words)
            os.unlink(fill)
            grown(path)


def test_a_data_directory_that_cannot_be_written():
    """A read-only mount and another user's directory: each with its own advice, and nothing changed."""
    with Mesh(1, start=False) as mesh:
        path = os.path.join(mesh.root, "ro")
        with small_disk(path, 4 << 20):
            flags = grown(path)
            before = every_byte(path)
            subprocess.run(["mount", "-o", "remount,ro", path], check=True)
            refused(flags, ["not writable", path, "mounted read-only", "--data-dir"])
            equal(every_byte(path), before, "as it was")
        os.chmod(mesh.root, 0o755)
        other = os.path.join(mesh.root, "other")
        os.mkdir(other, 0o755 if os.geteuid() == 0 else 0o555)
        refused(["--data-dir", other], ["not writable", other, "chown", "--data-dir"],
                through=["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else [])
        equal(os.listdir(other), [], "nothing was made in it")


def test_another_cluster_and_another_key():
    """Two meshes must never merge by a wrong address; the message says what to copy where."""
    with Mesh(1) as mesh:
        node = mesh[1]
        other = mesh.make()
        other.start("--join", node.ready["gossip"], "--cluster", "other", "--cluster-key-file", mesh.key_file())
        wrong_key = os.path.join(mesh.root, "wrong.key")
        with open(wrong_key, "w") as f:
            f.write("0123456789abcdef0123456789abcdef\n")
        third = mesh.make()
        third.start("--join", node.ready["gossip"], "--cluster-key-file", wrong_key)
        until(lambda: "cluster" in other.log_text().lower() and "refus" in other.log_text().lower()
              or "another cluster" in other.log_text().lower(), "the other cluster is told")
        until(lambda: "key show" in third.log_text(), "the wrong key is told what to copy")
        for n in (node, other, third):
            equal(n.status()["members"]["alive"], 1, f"node {n.number} stays alone")
        joined = third.cli("join", node.ready["gossip"], code=None)
        check(joined.returncode == 1 and "key" in joined.stderr, f"join by hand says why: {joined.stderr}")
        for n, word in ((other, "cluster"), (third, "key show")):
            warning = until(lambda n=n: n.status()["warnings"], "status warns of the seed")[0]
            check(f"seed {node.ready['gossip']} refused this node" in warning and word in warning, warning)
            ready = n.get("/readyz")
            check(ready.status == 503 and word in ready.body.decode(), f"/readyz: {ready.status} {ready.body!r}")
            equal(n.get("/v2/a/b/tags/list").status, 503, "it speaks for no mesh")
        equal(node.get("/readyz").status, 200, "the member is ready")


def test_joins_that_cannot_be_say_why_at_once():
    """An operator types a wrong port or the node's own address; the answer names the mistake."""
    with Mesh(2) as mesh:
        node, member = mesh.nodes
        for address, words in ((node.ready["gossip"], "is this node itself"),
                               (member.ready["transfer"], "dial the port for gossip"),
                               (member.ready["http"], "is an HTTP port"),
                               ("127.0.0.1:1", "refused"),
                               ("no.such.host.invalid:7946", "no.such.host.invalid")):
            began = time.monotonic()
            joined = node.cli("join", address, code=1)
            check(words in joined.stderr, f"join {address}: {joined.stderr}")
            check(time.monotonic() - began < 4 * PATIENCE, "without waiting for a timeout")
        by_name = "localhost:" + member.ready["gossip"].rsplit(":", 1)[1]
        for _ in range(2):  # a member that is known by its number
            check("joined" in node.cli("join", by_name).stdout, f"join {by_name}")
        with socket.socket() as hole:  # takes connections and says nothing
            hole.bind(("127.0.0.1", 0))
            hole.listen(8)
            joining = subprocess.Popen([FASTREG, "join", f"127.0.0.1:{hole.getsockname()[1]}", "--data-dir",
                                        node.data_dir], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            mesh.add()  # somebody else joins meanwhile
            said = joining.communicate(timeout=60)
            equal(joining.returncode, 1, f"nobody answered there: {said}")


def test_commands_to_a_wrong_port_are_told_which_is_right():
    """A script that names the wrong port must hear so, with exit code 3, and not of a broken answer."""
    with Mesh(2, "--admin-listen", "127.0.0.1:0") as mesh, socket.socket() as dead:
        node = mesh[1]
        def ask(*words):
            return subprocess.run([FASTREG, *words], capture_output=True, text=True, timeout=30, check=False)
        for port, words in (("http", ["blob", digest_of(b"x")]), ("gossip", ["status"]), ("transfer", ["verify"])):
            done = ask(*words, "--admin", node.ready[port])
            check(done.returncode == 3 and "name the node's admin.listen" in done.stderr,
                  f"{words} at {port}: {done.returncode} {done.stderr}")
        equal(ask("status", "--admin", node.ready["admin"]).returncode, 0, "the right one")
        dead.bind(("127.0.0.1", 0))  # and listens to nobody
        nobody = f"127.0.0.1:{dead.getsockname()[1]}"
        done = ask("status", "--admin", nobody)
        check(done.returncode == 3 and "is it running, with that address as its admin.listen?" in done.stderr,
              done.stderr)
        done = ask("status", "--admin", os.path.join(mesh.root, "none.sock"))
        check(done.returncode == 3 and "--data-dir DIR or --admin" in done.stderr, done.stderr)
        done = node.cli("join", nobody, code=1)
        check("is a node running there, with that port for gossip?" in done.stderr, done.stderr)


def test_a_refused_start_is_no_crash():
    """A port that was taken must not make the next start doubt, and hash again, what is on the disk."""
    with Mesh(2) as mesh:
        node, other = mesh[1], mesh[2]
        data = b"kept through a refused start" * 1000
        digest = node.push_blob("kept/blob", data)
        node.stop()
        free = ["--data-dir", node.data_dir, "--cluster-key-file", mesh.key_file(),
                "--gossip-listen", "127.0.0.1:0", "--transfer-listen", "127.0.0.1:0"]
        refused([*free, "--http-listen", other.ready["http"]], ["in use", "--http-listen"])
        refused([*free[:4], "--http-listen", "127.0.0.1:0", *free[6:],
                 "--gossip-listen", other.ready["gossip"]], ["in use", "--gossip-listen"])
        check(not os.path.exists(os.path.join(node.data_dir, "ready.json")), "says ready, but is not")
        node.start()
        check("store.unclean_stop" not in node.log_text(), f"an orderly stop: {node.log_tail(40)}")
        equal(node.get(f"/v2/kept/blob/blobs/{digest}").body, data, "still there")


def test_a_seed_that_is_not_there():
    """A mesh must start when its seed is down, and find it later."""
    with Mesh(1) as mesh:
        lonely = mesh.make()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            nobody = s.getsockname()[1]
        lonely.start("--join", f"127.0.0.1:{nobody}", "--join", "no-such-host.invalid:7946",
                     "--cluster-key-file", mesh.key_file())
        equal(lonely.get("/v2/").status, 200, "serves alone")
        ready = lonely.get("/readyz")
        check(ready.status == 503 and b"none of its seeds" in ready.body, f"/readyz: {ready.status} {ready.body!r}")
        lonely.cli("join", mesh[1].ready["gossip"])
        until(lambda: lonely.get("/readyz").status == 200, "ready as a member")
        until(lambda: mesh[1].status()["members"]["alive"] == 2, "joined by hand")


def test_the_node_of_no_data_directory():
    """The command line says which node it looked for, with exit code 3."""
    done = subprocess.run([FASTREG, "status", "--data-dir", "/nonexistent"], capture_output=True, text=True,
                          timeout=30, check=False)
    equal(done.returncode, 3, "not reachable")
    check("/nonexistent" in done.stderr, done.stderr)


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
