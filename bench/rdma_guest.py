"""What bench/rdma and bench/rdma_path measure, inside the VM: one line of JSON for each, in `figures` beside this file.

    rdma_guest.py late DEVICE ADDRESS ROUNDS
    rdma_guest.py wire DEVICE ADDRESS ROUNDS SECONDS DEPTH SIZE...
    rdma_guest.py path DEVICE ADDRESS ROUNDS SECONDS MIB
"""
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "rdma_wire")
GIB = 1 << 30


def figure(**what):
    with open(os.path.join(HERE, "figures"), "a") as f:  # not the console: the kernel writes there, too
        f.write(json.dumps(what) + "\n")


def busy():
    """Seconds of all processors that were not idle."""
    with open("/proc/stat") as f:
        fields = list(map(int, f.readline().split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def ours(address, size, depth, seconds):
    """Bytes a second, and processor seconds per GiB, of both ends and the kernel."""
    server = subprocess.Popen([PROGRAM, "serve", address, str(size)], stdout=subprocess.PIPE, text=True)
    try:
        port = server.stdout.readline().strip()
        before = busy()
        done = subprocess.run([PROGRAM, "pull", address, port, str(size), str(depth), str(seconds)],
                              capture_output=True, text=True, check=False)
        spent = busy() - before
    finally:
        server.kill()
        server.wait()
    if done.returncode != 0:
        raise SystemExit("rdma_wire said: " + done.stdout[-500:] + done.stderr[-500:])
    found = json.loads(done.stdout)
    return found["bytes"] / found["seconds"], spent / (found["all_bytes"] / GIB)


def perftest(device, address, size, depth, seconds, attempts=12):
    flags = ["-R", "-d", device, "-F", "-s", str(size), "-q", "1", "-t", str(depth), "-D", str(seconds)]
    server = subprocess.Popen(["ib_write_bw", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    try:
        before = busy()
        done = subprocess.run(["ib_write_bw", *flags, address], capture_output=True, text=True, timeout=60, check=False)
        spent = busy() - before
    finally:
        server.kill()
        server.wait()
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r"\s*%d\s" % size, line)]
    if not rows:
        raise SystemExit("ib_write_bw said: " + done.stdout[-500:] + done.stderr[-500:])
    rate = float(rows[-1][3]) * (1 << 20)  # Gbit/s would have two decimals
    if rate == 0:  # it could not measure the clock's frequency at its start, and says 0 for every rate then
        if attempts == 1:
            raise SystemExit("ib_write_bw told no rate: " + (done.stdout + done.stderr)[-1500:])
        return perftest(device, address, size, depth, seconds, attempts - 1)
    return rate, spent / (rate * seconds / GIB)


def wire(device, address, rounds, seconds, depth, sizes):
    for number in range(-1, rounds):  # one round that does not count: the emulator translates what it has not run yet
        for size in sizes:
            measures = {"ours": lambda s=size: ours(address, s, depth, seconds),
                        "perftest": lambda s=size: perftest(device, address, s, depth, seconds)}
            for name in sorted(measures, reverse=number % 2 == 1):
                rate, cpu = measures[name]()
                if number >= 0:
                    figure(what=name, size=size, rate=rate, cpu=cpu)


def late(address, rounds):
    """Requests given up while their writes are under way (tests/rdma/devices_test.cc)."""
    story = "writes in flight when their requests were given up*"
    for _ in range(rounds):
        done = subprocess.run([os.path.join(HERE, "rdma_test"), f"-tc={story}"], capture_output=True, text=True,
                              check=False, env={**os.environ, "FR_RDMA_ADDR": address})
        seen = re.search(r"late completions: (\d+)", done.stdout)
        ran = re.search(r"test cases:\s+1 \|\s+([01]) passed", done.stdout)
        if not seen or not ran:
            raise SystemExit("rdma_test said: " + done.stdout[-800:] + done.stderr[-500:])
        figure(late=int(seen[1]), intact=ran[1] == "1")


def path(device, address, rounds, seconds, mib):
    """A push to node 1 of which node 2 keeps a copy: read, written by RDMA, stored, read back, hashed."""
    sys.path.insert(0, os.path.join(HERE, "tests", "integration"))
    from harness import Mesh, check, digest_of, equal, until
    flags = ["--rdma-enabled", "--rdma-listen-addr", address, "--rdma-listen-port", "0", "--rdma-landing-slots", "32",
             "--rdma-source-slots", "8", "--rdma-ack-timeout", "18", "--store-min-free", "0", "--replicas", "2"]

    def copied(mesh, data):
        before = mesh[2].status()["bytes"]["in"]["peer"]
        digest = mesh[1].push_blob("a/b", data)
        found = until(lambda: re.findall(r"^.*blob\.pulled.*%s.*$" % digest[7:15], mesh[2].log_text(), re.M),
                      "node 2 has a copy", 60)
        after = mesh[2].status()["bytes"]["in"]["peer"]
        milliseconds = re.search(r"\bms[=:\" ]+([0-9.]+)", found[-1])
        check(milliseconds, found[-1])
        return digest, float(milliseconds[1]), {road: after[road] - before[road] for road in before}

    for number in range(rounds):
        data = os.urandom(mib << 20)
        name = os.path.join("/tmp", f"blob{number}")
        with open(name, "wb") as f:
            f.write(data)
        with Mesh(2, *flags) as mesh:
            for _ in range(20):  # until chunks go by RDMA: while a link is made they go by TCP
                if copied(mesh, os.urandom(1 << 20))[2]["rdma"]:
                    break
            digest, ms, moved = copied(mesh, data)
            equal(moved, {"tcp": 0, "rdma": len(data)}, "all by RDMA, nothing twice")
            equal(digest_of(mesh[2].get(f"/v2/a/b/blobs/{digest}").body), digest, "every byte")
            blob = mesh[2].json("blob", digest)
        figure(what="path", rate=len(data) / (ms / 1e3), size=blob["chunk_size"])
        hashed = json.loads(subprocess.run([os.path.join(HERE, "floor"), "hash", name, str(os.cpu_count())], check=True,
                                           capture_output=True, text=True).stdout)
        figure(what="ceiling", rate=hashed["bytes"] / hashed["seconds"])
        figure(what="wire", rate=ours(address, blob["chunk_size"], 8, seconds)[0])
        os.unlink(name)


def main():
    what, device, address, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    more = [int(s) for s in sys.argv[5:]]
    if what == "wire":
        wire(device, address, rounds, more[0], more[1], more[2:])
    elif what == "path":
        path(device, address, rounds, *more)
    else:
        late(address, rounds)


if __name__ == "__main__":
    main()
