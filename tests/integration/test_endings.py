"""Work that ends in the middle: nodes and clients that go away, and what is left behind."""
import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Mesh, check, digest_of, equal, run_cases, until  # noqa: E402


def head_of(method, path, *fields):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def read_all(s):
    data = bytearray()
    while piece := s.recv(1 << 20):
        data += piece
    return bytes(data)


def fds(node):
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def metric(node, name):
    """The sum over the labels of a metric."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(node.data_dir, "admin.sock"))
        s.sendall(head_of("GET", "/metrics", "Connection: close"))
        text = read_all(s).decode()
    lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
    check(lines, f"metric {name} is there")
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_a_proof_of_membership_is_good_once():
    """Who reads the wire between two nodes must not be able to repeat what one passed on to the other."""
    with Mesh(2) as mesh:
        place = mesh[1].request("POST", "/v2/p/p/blobs/uploads/").header("Location")
        mesh[1].kill()
        with socket.socket() as spy:
            spy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            spy.bind(mesh[1].address())
            spy.listen()
            spy.settimeout(20)
            answers = []
            client = threading.Thread(target=lambda: answers.append(mesh[2].request("PATCH", place, b"stolen")))
            client.start()
            passed_on, _ = spy.accept()
            with passed_on:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += passed_on.recv(65536)
            client.join()
        equal(answers[0].status, 503, "the owner broke the connection")
        field = [line for line in head.decode(errors="replace").split("\r\n") if line.startswith("Fastreg-Member: ")]
        equal(len(field), 1, "the proof")
        mesh.restart(mesh[1])

        def say(target, proof):
            with mesh[1].connect() as s:
                # A forwarded request is not this host's own: only the proof lets it through.
                s.sendall(head_of("PATCH", target, "X-Forwarded-For: 192.0.2.1", "Content-Length: 0",
                                  "Connection: close", *proof))
                return int(read_all(s).split(b" ")[1])

        equal(say(place, []), 403, "without a proof")
        equal(say(place + "?x=1", field), 403, "for another target")
        equal(say(place, [field[0][:-1] + ("0" if field[0][-1] != "0" else "1")]), 403, "with a changed proof")
        equal(say(place, field), 404, "once it passes the gate; the upload ended with its owner")
        equal(say(place, field), 403, "again")
        equal(mesh[1].log_text().count("member.proof_refused"), 1, "the log says so, once and not for each")


def test_the_owner_of_an_upload_dies_in_its_middle():
    """The client is told what happened and can start again; nothing hangs until a time-out."""
    with Mesh(3) as mesh:
        place = mesh[1].request("POST", "/v2/o/o/blobs/uploads/").header("Location")
        with mesh[2].connect(20) as s:
            s.sendall(head_of("PATCH", place, "Content-Length: 50000000", "Connection: close"))
            s.sendall(b"x" * 3_000_000)
            until(lambda: metric(mesh[1], "fastreg_http_received_bytes_total") > 1_000_000,
                  "the bytes go to the owner")
            mesh[1].kill()
            begun = time.monotonic()
            answer = s.recv(65536)
            check(time.monotonic() - begun < 5, "the answer comes at once")
        check(b" 503 " in answer.split(b"\r\n")[0], f"answer: {answer[:200]}")
        check(b"the node that holds this upload" in answer, f"it says why: {answer[:400]}")
        again = mesh[2].request("PATCH", place, b"y")
        check(again.status in (404, 503), f"the upload is gone: {again.status}")
        data = os.urandom(100_000)
        equal(mesh[2].push_blob("o/o", data), digest_of(data), "a new upload")


def test_the_owner_of_an_upload_leaves():
    """It says that it left and then ends what it has in hand; who passed the request on cut it after a second."""
    with Mesh(2) as mesh:
        data = os.urandom(3_000_000)
        place = mesh[1].request("POST", "/v2/o/o/blobs/uploads/").header("Location")
        with mesh[2].connect(30) as s:
            s.sendall(head_of("PATCH", place, f"Content-Length: {len(data)}", "Connection: close"))
            s.sendall(data[:2_000_000])
            until(lambda: metric(mesh[1], "fastreg_http_received_bytes_total") > 1_000_000,
                  "the bytes go to the owner")
            leave = threading.Thread(target=lambda: mesh[1].cli("leave", "--timeout", "1s", code=None))
            leave.start()
            until(lambda: mesh[2].status()["members"]["left"] == 1, "seen as left", 10)
            time.sleep(2.5)  # it is looked at every second
            s.sendall(data[2_000_000:])
            answer = read_all(s)
        leave.join()
        check(b" 202 " in answer.split(b"\r\n")[0], f"answer: {answer[:400]}")
        equal(mesh[1].process.wait(40), 0, "then it ends")


def test_the_owner_of_an_upload_freezes():
    """A process that is stopped keeps its connections; who asks through another node waited for a minute."""
    with Mesh(3) as mesh:
        place = mesh[1].request("POST", "/v2/o/o/blobs/uploads/").header("Location")
        mesh[1].process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        answer = mesh[2].request("PATCH", place, b"abc")
        took = time.monotonic() - begun
        mesh[1].process.send_signal(signal.SIGCONT)
        equal((answer.status, answer.code()), (503, "UNAVAILABLE"), "PATCH through another node")
        check(took < 15, f"as soon as the node is taken for dead, after {took:.1f} s")


def test_the_only_holder_dies_in_a_pull_and_comes_back():
    """A machine that restarts must cost a pull a pause, not its end."""
    with Mesh(2, "--replicas", "1") as mesh:
        data = os.urandom(400_000_000)
        digest = mesh[1].push_blob("h/h", data)
        with mesh[2].connect(60) as s:
            s.sendall(head_of("GET", f"/v2/h/h/blobs/{digest}", "Connection: close"))
            got = bytearray(s.recv(65536))
            mesh[1].kill()
            check(mesh[2].status()["store"]["partial"] == 1, "the pull is in its middle")
            mesh.restart(mesh[1])
            got += read_all(s)
        head, _, body = bytes(got).partition(b"\r\n\r\n")
        check(b" 200 " in head.split(b"\r\n")[0], f"answer: {head[:200]}")
        equal(digest_of(body), digest, "the body")


def test_clients_that_go_away_leave_nothing_behind():
    """500 broken pulls and 500 broken pushes: no descriptor, no connection, no block stays taken."""
    with Mesh(2, "--replicas", "1") as mesh:
        data = os.urandom(8_000_000)
        digest = mesh[1].push_blob("g/g", data)
        equal(mesh[2].get(f"/v2/g/g/blobs/{digest}").status, 200, "a whole pull, so that what stays open is open")

        def at_rest():
            return all(metric(n, "fastreg_http_connections") <= 1 for n in mesh.nodes)  # the question's own
        until(at_rest, "the connections close")
        before = [fds(n) for n in mesh.nodes]
        for i in range(500):
            with mesh[1 + i % 2].connect() as s:
                s.sendall(head_of("GET", f"/v2/g/g/blobs/{digest}"))
                s.recv(1000)
            with mesh[1 + i % 2].connect() as s:
                s.sendall(head_of("POST", f"/v2/g/g/blobs/uploads/?digest={digest_of(b'never')}",
                                  "Content-Length: 1000000"))
                s.sendall(b"z" * 300_000)
        until(at_rest, "the connections close")
        # Nobody knows the session of a single POST, so that nobody can go on with it: its file goes with it.
        until(lambda: all(fds(n) <= was + 8 for n, was in zip(mesh.nodes, before)),
              f"descriptors: {before} before")
        after = os.urandom(30_000_000)  # more than would fit through a pool that lost its blocks
        fresh = mesh[1].push_blob("g/g", after)
        equal(digest_of(mesh[2].get(f"/v2/g/g/blobs/{fresh}").body), fresh, "a pull afterwards")
        for node in mesh.nodes:
            equal(node.stop(), 0, "nothing keeps it from stopping")


def test_a_thousand_idle_connections_are_the_limit_and_not_the_end():
    """Clients that hold connections open must not lock out the node's own health checks for ever."""
    with Mesh(1, "--limits-connections", "1000") as mesh:
        before = fds(mesh[1])
        held = [mesh[1].connect() for _ in range(1000)]
        try:
            until(lambda: metric(mesh[1], "fastreg_http_connections") >= 1000, "they are taken")
            with mesh[1].connect() as s:
                s.sendall(head_of("GET", "/v2/", "Connection: close"))
                try:
                    refused = read_all(s)
                except ConnectionResetError:
                    refused = b""
            check(b" 200 " not in refused, f"one more is refused: {refused[:100]}")
            held[7].sendall(head_of("GET", "/v2/"))
            check(b" 200 " in held[7].recv(65536), "an idle one still works")
            held.pop().close()
            until(lambda: mesh[1].get("/v2/").status == 200, "room again")
        finally:
            for s in held:
                s.close()
        until(lambda: fds(mesh[1]) <= before + 2, "all descriptors are back")


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
