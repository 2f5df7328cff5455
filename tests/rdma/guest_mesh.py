"""Real nodes on one RDMA device, inside the VM: chunks by RDMA, and TCP at once when it fails.

FR_RDMA_ADDR is an address of the device, FR_RDMA_DEV its name, FR_RDMA_NET its network interface. Gossip, HTTP
and chunks over TCP are on loopback, so that the device can fail alone.
"""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "integration"))
from harness import Mesh, Skip, check, digest_of, equal, run_cases, until  # noqa: E402

ADDR, DEV, NET = os.environ["FR_RDMA_ADDR"], os.environ["FR_RDMA_DEV"], os.environ["FR_RDMA_NET"]
SMALL = ["--rdma-landing-slots", "16", "--rdma-source-slots", "8", "--rdma-ack-timeout", "18", "--store-min-free", "0",
         "--replicas", "1"]
RDMA = ["--rdma-enabled", "--rdma-listen-addr", ADDR, "--rdma-listen-port", "0", *SMALL]
PORT = 9999
AT_PORT = ["--rdma-enabled", "--rdma-listen-addr", ADDR, "--rdma-listen-port", str(PORT), *SMALL]
MIB = 1 << 20


def sh(*words):
    subprocess.run(words, check=True)


CHUNKS_OUT = 'fastreg_rdma_chunks_total{direction="out"}'
BYTES_IN_BY_RDMA = 'fastreg_bytes_total{direction="in",source="peer",transport="rdma",zone="none"}'


def rdma_bytes(node, way):
    return node.status()["bytes"][way]["peer"]["rdma"]


def metric(node, line):
    """The value of one line of /metrics, by its whole name with labels."""
    import http.client
    import socket

    connection = http.client.HTTPConnection("node")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.path.join(node.data_dir, "admin.sock"))
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.search("^" + re.escape(line) + r" (\S+)$", text, re.M)
    check(found, f"no {line} in /metrics")
    return float(found[1])


class Pull(threading.Thread):
    """One client reading a blob; says how long it saw no byte at the most, when it saw the first and the last."""

    def __init__(self, node, digest):
        super().__init__()
        self.node, self.digest = node, digest
        self.data, self.stall, self.error = bytearray(), 0.0, None
        self.begun, self.first, self.last = time.monotonic(), None, None
        self.start()

    def run(self):
        import http.client
        try:
            connection = http.client.HTTPConnection(*self.node.address(), timeout=120)
            connection.request("GET", f"/v2/a/b/blobs/{self.digest}")
            response = connection.getresponse()
            if response.status != 200:
                self.error = f"status {response.status}: {response.read()!r}"
                return
            last = time.monotonic()
            while part := response.read1(1 << 16):
                now = time.monotonic()
                self.stall, last = max(self.stall, now - last), now
                self.first, self.last = self.first or now, now
                self.data += part
        except OSError as error:
            self.error = repr(error)

    def finish(self, wanted, words):
        self.join()
        check(self.error is None, f"{words}: {self.error}")
        equal(digest_of(bytes(self.data)), digest_of(wanted), words)
        return self


def quiet(node):
    """No slot, source or link of a broken connection stays behind."""
    until(lambda: metric(node, 'fastreg_rdma_landing_slots{state="free"}') == 16 and
          metric(node, 'fastreg_rdma_landing_slots{state="quarantined"}') == 0 and
          metric(node, "fastreg_rdma_source_slots_in_use") == 0, f"node {node.number} has all slots back", 10)


def device_takes_connections():
    """As rping sees it, which knows nothing of FastReg."""
    server = subprocess.Popen(["rping", "-s", "-a", ADDR, "-C", "1"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(2)
    try:
        return subprocess.run(["timeout", "20", "rping", "-c", "-a", ADDR, "-C", "1"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0
    finally:
        server.kill()
        server.wait()


def test_chunks_go_by_rdma_between_all_who_pull():
    """What FastReg is for: a swarm over RDMA, seen in status, peers and metrics."""
    with Mesh(3, *RDMA) as mesh:
        data = os.urandom(32 * MIB + 12345)
        digest = mesh[1].push_blob("a/b", data)
        pulls = [Pull(mesh[2], digest), Pull(mesh[3], digest)]
        middle = 20 * MIB + 1
        part = mesh[2].get(f"/v2/a/b/blobs/{digest}", Range=f"bytes={middle}-{middle + 99_999}")
        equal((part.status, part.body), (206, data[middle:middle + 100_000]), "a range of what is not here yet")
        for pull in pulls:
            pull.finish(data, "a pull by RDMA")
            check(pull.first - pull.begun < (pull.last - pull.begun) / 2, "clients get what is there, as it comes")
        for node in mesh.nodes[1:]:  # while the links are up: idle ones are closed
            check("rdma" in [p["transport"] for p in node.peers()], "peers show the transport")
        for node in mesh.nodes[1:]:
            status = node.status()
            moved = status["bytes"]["in"]["peer"]
            check(moved["rdma"] > 0.8 * len(data), f"most bytes came by RDMA: {moved}")
            equal(status["rdma"]["enabled"], True, "status")
            check(DEV in [d["name"] for d in status["rdma"]["devices"]], "the device is shown")
            check(status["listen"]["rdma"].startswith(ADDR + ":"), "the address is shown")
            check(metric(node, 'fastreg_rdma_chunks_total{direction="in"}') > 0, "counted")
            check(metric(node, BYTES_IN_BY_RDMA) == moved["rdma"], "and its bytes, too")
            quiet(node)
        check(rdma_bytes(mesh[2], "out") + rdma_bytes(mesh[3], "out") > 0, "those that pull share by RDMA meanwhile")
        check(metric(mesh[1], 'fastreg_rdma_source_reads_total{result="hit"}') > 0, "a chunk is read once for both")
        equal(metric(mesh[2], "fastreg_rdma_fallbacks_total"), 0, "nothing failed")


def failures(node):
    return sum(metric(node, f'fastreg_rdma_failures_total{{reason="{reason}"}}')
               for reason in ("connect", "link", "timeout", "protocol", "stall"))


def lines_of(node, event):
    return re.findall(r"^.*\b%s\b.*$" % re.escape(event), node.log_text(), re.M)


# What may pass without a byte: a peer is dropped after 2 s of silence, and a second more. An emulator on busy
# processors needs its time, too.
STALL = 2 + 1
SLOW = 1


def by_rdma_again(source, puller):
    """It is tried again after 5 s, then 10 s, when something is to be pulled."""
    seen = rdma_bytes(puller, "in")

    def used():
        more = os.urandom(4 * MIB)
        Pull(puller, source.push_blob("a/b", more)).finish(more, "a pull while RDMA is away, or back")
        return rdma_bytes(puller, "in") > seen

    until(used, "RDMA is used again", 10)


def pull_from_two(mesh):
    """What node 3 pulls, and its pull: node 2 is a second holder, and chunks come from node 1 by RDMA."""
    data = os.urandom(48 * MIB)
    digest = mesh[1].push_blob("a/b", data)
    Pull(mesh[2], digest).finish(data, "a second holder")
    written = metric(mesh[1], CHUNKS_OUT)
    pull = Pull(mesh[3], digest)
    until(lambda: metric(mesh[1], CHUNKS_OUT) > written + 8, "the pull is under way, by RDMA from node 1")
    return data, pull


def test_a_peer_killed_in_mid_chunk():
    """Its slots wait for the queue pair; the pull goes on from the other holder. Restarted, it is asked by RDMA again,
    by a node that knew its earlier life."""
    with Mesh(0) as mesh:
        for flags in (AT_PORT, RDMA, RDMA):
            mesh.add(*flags)
        mesh.settle()
        data, pull = pull_from_two(mesh)
        mesh[1].kill()
        pull.finish(data, "a pull whose source was killed")
        check(pull.stall < STALL + SLOW, f"no stall: {pull.stall:.1f} s")
        print(f"NOTE {DEV} a source killed: at most {pull.stall:.1f} s without a byte", flush=True)
        # Its TCP connection breaks as well: where that is seen first, RDMA is not what failed.
        equal(len(lines_of(mesh[3], "rdma.link_failed")), failures(mesh[3]), "a line for each failure that is counted")
        until(lambda: any("state=dead" in line for line in lines_of(mesh[3], "member.changed")), "one line says so", 20)
        quiet(mesh[3])
        mesh.restart(mesh[1], *AT_PORT)  # a connection of its earlier life must not stand in the way
        mesh.settle()
        equal(mesh[1].status()["listen"]["rdma"], f"{ADDR}:{PORT}", f"where it was: {lines_of(mesh[1], 'rdma.off')}")
        by_rdma_again(mesh[1], mesh[3])


def test_a_peer_that_is_stopped():
    """Its device is up and acknowledges; the process does nothing. The other holder is asked."""
    with Mesh(3, *RDMA) as mesh:
        data, pull = pull_from_two(mesh)
        mesh[1].process.send_signal(signal.SIGSTOP)
        try:
            pull.finish(data, "a pull one of whose sources stopped")
            check(pull.stall < STALL + SLOW, f"no stall: {pull.stall:.1f} s")
            print(f"NOTE {DEV} a source stopped: at most {pull.stall:.1f} s without a byte", flush=True)
            quiet(mesh[3])
        finally:
            mesh[1].process.send_signal(signal.SIGCONT)
        mesh.settle()
        by_rdma_again(mesh[1], mesh[3])


def test_a_peer_that_is_stopped_while_three_pull():
    """A busy device: each chunk takes long, but one of them ends often. No end for a second is silence."""
    with Mesh(5, *RDMA) as mesh:
        data = os.urandom(70 * MIB)
        digest = mesh[1].push_blob("a/b", data)
        Pull(mesh[2], digest).finish(data, "a second holder")
        written = metric(mesh[1], CHUNKS_OUT)
        pulls = [Pull(mesh[n], digest) for n in (3, 4, 5)]
        until(lambda: metric(mesh[1], CHUNKS_OUT) > written + 8, "three pulls are under way, by RDMA from node 1")
        mesh[1].process.send_signal(signal.SIGSTOP)
        try:
            for pull in pulls:
                pull.finish(data, "a pull one of whose sources stopped")
            stall = max(pull.stall for pull in pulls)
            print(f"NOTE {DEV} a source of three stopped: at most {stall:.1f} s without a byte", flush=True)
            check(stall < STALL + SLOW, f"no stall: {stall:.1f} s")
            for n in (3, 4, 5):
                quiet(mesh[n])
        finally:
            mesh[1].process.send_signal(signal.SIGCONT)


def test_nothing_but_the_flag():
    """--rdma-enabled alone: the listener takes all addresses, and peers are told one of a device that works."""
    with Mesh(0) as mesh:
        mesh.add("--rdma-enabled", *SMALL)
        mesh.add(*RDMA)
        mesh.settle()
        told = mesh[1].status()["listen"]["rdma"]
        check(told in (f"10.77.0.1:{PORT}", f"10.78.0.1:{PORT}"), told)
        by_rdma_again(mesh[1], mesh[2])
        by_rdma_again(mesh[2], mesh[1])


def test_an_address_where_nobody_answers():
    """A black hole costs nothing: chunks go by TCP while RDMA tries to connect."""
    with Mesh(0) as mesh:
        mesh.add(*RDMA, "--rdma-advertise-addr", ADDR.rsplit(".", 1)[0] + ".99")
        mesh.add(*RDMA)
        mesh.settle()
        data = os.urandom(8 * MIB)
        digest = mesh[1].push_blob("a/b", data)
        pull = Pull(mesh[2], digest).finish(data, "a pull")
        check(pull.stall < 1.0, f"no stall: {pull.stall:.1f} s")
        equal(rdma_bytes(mesh[2], "in"), 0, "nothing came by RDMA")
        until(lambda: metric(mesh[2], 'fastreg_rdma_failures_total{reason="connect"}') == 1, "it is counted", 10)
        lines = re.findall(r"rdma\.link_failed.*", mesh[2].log_text())
        equal(len(lines), 1, f"one line says so: {lines}")


def test_a_peer_without_rdma():
    """Chosen per peer: both ways by TCP with the one, by RDMA with the other."""
    with Mesh(0) as mesh:
        mesh.add(*RDMA)
        mesh.add("--replicas", "1", "--store-min-free", "0")
        mesh.add(*RDMA)
        mesh.settle()
        data = os.urandom(4 * MIB)
        digest = mesh[2].push_blob("a/b", data)
        Pull(mesh[1], digest).finish(data, "from one without RDMA")
        equal(rdma_bytes(mesh[1], "in"), 0, "by TCP")
        equal(mesh[2].status()["rdma"], {"enabled": False, "devices": []}, "off where nobody asked for it")
        equal(mesh[2].status()["warnings"], [], "and no word about it")
        more = os.urandom(16 * MIB)
        digest = mesh[1].push_blob("a/b", more)
        Pull(mesh[3], digest).finish(more, "from one with RDMA")
        check(rdma_bytes(mesh[3], "in") > 0, "by RDMA")
        Pull(mesh[2], digest).finish(more, "to one without RDMA")


def test_the_doctor_and_the_bench_see_the_device():
    """What an operator runs first on a new fabric."""
    with Mesh(2, *RDMA) as mesh:
        found = mesh[1].cli("doctor", "--json", *RDMA[:3], "--rdma-listen-port", "9999", code=None)
        checks = json.loads(found.stdout)["checks"]
        text = "\n".join(f"{c['verdict']} {c['check']} - {c['seen']}" for c in checks)
        check(any(c["verdict"] == "ok" and DEV in c["check"] + c["seen"] for c in checks), f"the device: {text}")
        check(re.search(r"^ok .*%s.*(chunk|loopback|itself)" % DEV, text, re.M), f"a chunk to itself: {text}")
        rows = mesh[1].json("bench", "--transport", "tcp,rdma", "--size", "256KiB,4MiB", "--depth", "4", "--seconds",
                            "1", "node2")["rows"]
        equal([row["chunk_bytes"] for row in rows], [256 << 10, 4 << 20], "a row for each size")
        for row in rows:
            for road in ("tcp", "rdma"):
                check(row[road]["bytes"] > 0, f"{road} was measured: {row}")
            check(row["ratio"] > 0, f"and both compared: {row}")
        check(metric(mesh[1], 'fastreg_rdma_chunks_total{direction="in"}') > 0, "by RDMA indeed")
        equal(metric(mesh[1], "fastreg_rdma_fallbacks_total"), 0, "all of it")
        quiet(mesh[1])


def test_memory_that_may_not_be_pinned():
    """8 MB is what containers get: RDMA is off, one line says what to raise, and the node works."""
    with Mesh(0) as mesh:
        mesh.add(*RDMA)
        node = mesh.make()
        # Without the capability that overrides the limit; soft iWARP knows no such override.
        limited = ["prlimit", "--memlock=8388608", "setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"]
        node.start(*mesh.join_flags(node), *RDMA, under=limited)
        mesh.settle()
        lines = re.findall(r"rdma\.off.*", node.log_text())
        equal(len(lines), 1, "one line")
        check("LimitMEMLOCK=infinity" in lines[0] and "--ulimit memlock=-1" in lines[0], lines[0])
        equal(node.status()["rdma"]["enabled"], False, "status")
        equal(metric(node, 'fastreg_rdma_off{reason="memory"}'), 1, "the metric")
        check("memory" in node.status()["warnings"][0], "the warning names it")
        data = os.urandom(4 * MIB)
        Pull(node, mesh[1].push_blob("a/b", data)).finish(data, "by TCP")
        # With room for some of them there are fewer slots, and RDMA all the same.
        some = mesh.make()
        limited[1] = f"--memlock={600 * MIB}"
        some.start(*mesh.join_flags(some), *RDMA, "--rdma-landing-slots", "256", under=limited)
        check(re.search(r"rdma\.fewer_slots.*wanted=256", some.log_text()), "fewer slots, and said so")
        equal(some.status()["rdma"]["enabled"], True, "status")
        mesh.settle()
        by_rdma_again(mesh[1], some)


def test_the_device_is_removed():
    """Everything on it goes; the pull ends by TCP. A node that starts then says that there is no device."""
    with Mesh(2, *RDMA) as mesh:
        data = os.urandom(48 * MIB)
        digest = mesh[1].push_blob("a/b", data)
        pull = Pull(mesh[2], digest)
        until(lambda: len(pull.data) > 4 * MIB, "the pull is under way")
        for device in (DEV, *{"rxe0", "siw0"} - {DEV}):  # the one in use, and then the last one
            start = time.monotonic()
            sh("timeout", "20", "rdma", "link", "del", device)
            check(time.monotonic() - start < 15, "the removal does not hang")
        pull.finish(data, "a pull whose device was removed")
        check(pull.stall < STALL + SLOW, f"no stall: {pull.stall:.1f} s")
        print(f"NOTE {DEV} its device removed: at most {pull.stall:.1f} s without a byte", flush=True)
        for node in mesh.nodes:
            equal(len(lines_of(node, "rdma.device_removed")), 2, "a line for each device")
            equal(metric(node, "fastreg_rdma_up"), 0, "the metric")
            check("no RDMA device works" in str(node.status()["warnings"]), "the status")
            equal(node.status()["listen"]["rdma"], "", "and no address is told to others")
        until(lambda: [p["rdma_addr"] for p in mesh[2].peers()] == ["", ""], "the mesh knows", 20)
        late = mesh.add(*RDMA)
        mesh.settle()
        check("no RDMA device" in late.log_text(), "the node says so")
        equal(metric(late, 'fastreg_rdma_off{reason="device"}'), 1, "the metric says why")
        Pull(late, digest).finish(data, "a pull without a device")
        # The devices come back; nodes that knew the old ones go on by TCP, and by RDMA once they are restarted.
        for device, kind, network in (("rxe0", "rxe", "dummy0"), ("siw0", "siw", "dummy1")):
            sh("rdma", "link", "add", device, "type", kind, "netdev", network)
        time.sleep(1)
        more = os.urandom(4 * MIB)
        digest = mesh[1].push_blob("a/b", more)
        late.stop()
        mesh.restart(late)
        mesh.settle()
        Pull(late, digest).finish(more, "from a node whose device came back, to one that was restarted")
        Pull(mesh[2], digest).finish(more, "between those two")
        digest = late.push_blob("a/b", more + b"1")
        Pull(mesh[2], digest).finish(more + b"1", "to a node whose device came back")
        mesh[2].stop()
        mesh.restart(mesh[2])
        mesh.settle()
        more = os.urandom(16 * MIB)
        Pull(mesh[2], late.push_blob("a/b", more)).finish(more, "a pull between restarted nodes")
        check(rdma_bytes(mesh[2], "in") > 0, "by RDMA again")


def test_the_link_goes_down():
    """The chunks in flight are asked by TCP."""
    with Mesh(2, *RDMA) as mesh:
        data = os.urandom(48 * MIB)
        digest = mesh[1].push_blob("a/b", data)
        pull = Pull(mesh[2], digest)
        until(lambda: len(pull.data) > 4 * MIB, "the pull is under way")
        before = rdma_bytes(mesh[2], "in")
        check(before > 0, "it began by RDMA")
        sh("ip", "link", "set", NET, "down")
        try:
            pull.finish(data, "a pull over a link that went down")
            check(pull.stall < STALL + SLOW, f"no stall: {pull.stall:.1f} s")
            print(f"NOTE {DEV} its link down: at most {pull.stall:.1f} s without a byte", flush=True)
            check(failures(mesh[2]) > 0, "it is counted")
            equal(len(lines_of(mesh[2], "rdma.link_failed")), 1, "one line says so")
        finally:
            sh("ip", "link", "set", NET, "up")
        quiet(mesh[2])


def test_the_link_was_down_and_is_back():
    """RDMA is used again, without a restart."""
    sh("rdma", "link", "del", DEV)  # the case before this one may have left it broken
    sh("rdma", "link", "add", DEV, "type", DEV[:3], "netdev", NET)
    time.sleep(1)
    with Mesh(2, *RDMA) as mesh:
        by_rdma_again(mesh[1], mesh[2])
        sh("ip", "link", "set", NET, "down")
        time.sleep(1)
        more = os.urandom(4 * MIB)
        Pull(mesh[2], mesh[1].push_blob("a/b", more)).finish(more, "a pull while the link is down")
        sh("ip", "link", "set", NET, "up")
        if not device_takes_connections():
            # Soft-RoCE of Linux 6.1: a packet of the connection manager that could not leave breaks its queue pair.
            raise Skip(f"{DEV} takes no connection any more after its link was down, not rping's either")
        by_rdma_again(mesh[1], mesh[2])


if __name__ == "__main__":
    run_cases(sys.modules[__name__])
