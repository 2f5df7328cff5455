"""Two machines on one cable: the second pulls from the first by RDMA, and once the cable's carrier is cut in the
middle of it."""
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vm import ROOT, VM, Counts, bring  # noqa: E402

MIB = 1 << 20
# What the rest may take once the cable is back: TCP's own retransmissions (up to 3 s after a cut of 3 s) and the peer's
# redial, before at most 56 MiB by TCP through an emulator on busy processors.
BACK = 60
NODE = ("/run/out/fastreg serve --data-dir /run/node --http-listen 127.0.0.1:8080 --gossip-listen ADDR:7946 "
        "--transfer-listen ADDR:7947 --advertise-addr ADDR --rdma-enabled --rdma-listen-addr ADDR "
        "--rdma-landing-slots 16 --rdma-source-slots 8 --rdma-ack-timeout 18 --store-min-free 0 --replicas 1 "
        "--cluster-key-file $OUT/key")

FIRST = """
set -e
echo 'a key of both machines, long enough' > $OUT/key
%s > $OUT/log 2>&1 &
for i in $(seq 300); do [ -s /run/node/ready.json ] && break; sleep 0.2; done
push() {
  place=$(curl -si -X POST http://127.0.0.1:8080/v2/a/b/blobs/uploads/ | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')
  curl -sf -X PUT -H 'Content-Type: application/octet-stream' --data-binary @$1 "http://127.0.0.1:8080$place?digest=$2"
}
for n in 1 2; do
  head -c %d /dev/urandom > /run/blob; digest=sha256:$(sha256sum /run/blob | cut -d' ' -f1)
  push /run/blob $digest; echo $digest > $OUT/digest$n
done
touch $OUT/pushed
for i in $(seq 2000); do [ -e $OUT/over ] && break; sleep 0.2; done
"""

SECOND = """
set -e
cp $OUT/first-key $OUT/key
%s --join 10.7X.0.1:7946 > $OUT/log 2>&1 &
for i in $(seq 300); do curl -sf http://127.0.0.1:8080/readyz > /dev/null && break; sleep 0.2; done
size() { stat -c %%s /run/got 2>/dev/null || echo 0; }
for n in 1 2; do
  rm -f /run/got
  curl -sf --max-time 200 http://127.0.0.1:8080/v2/a/b/blobs/$(cat $OUT/digest$n) > /run/got & curl=$!
  while kill -0 $curl 2>/dev/null; do
    now=$(size)
    if [ $now -ge %d ] && [ ! -e $OUT/midway$n ]; then
      echo $now > $OUT/midway.new; mv $OUT/midway.new $OUT/midway$n
    fi
    sleep 0.1
  done
  wait $curl
  echo sha256:$(sha256sum /run/got | cut -d' ' -f1) > $OUT/got$n
  $OUT/fastreg status --data-dir /run/node --json > $OUT/status.new
  mv $OUT/status.new $OUT/status$n
done
"""


def start(out, link, monitor, script):
    command = [VM, "--out", out, "--mem", "1500M", "--timeout", "420", "--link", link]
    if monitor:
        command += ["--monitor", monitor]
    return subprocess.Popen([*command, "--", "bash", "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def wait_for(path, seconds, *processes):
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end or any(p.poll() is not None for p in processes):
            raise AssertionError(f"{os.path.basename(path)} did not come")
        time.sleep(0.1)


def monitor_say(path, words):
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(path)
        time.sleep(0.2)
        wire.sendall(words.encode() + b"\n")
        time.sleep(0.5)


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def run(device, net):
    """The rest of the guest's address: 77 is Soft-RoCE's, 78 Soft-iWARP's."""
    import json
    port = 20000 + os.getpid() % 20000 + net
    with tempfile.TemporaryDirectory() as root:
        one, two, monitor = f"{root}/one", f"{root}/two", f"{root}/monitor"
        for out in (one, two):
            os.mkdir(out)
            bring(out)
        first = start(one, f"listen:{port}", monitor,
                      FIRST % (NODE.replace("ADDR", f"10.{net}.0.1"), 64 * MIB))
        second = None
        try:
            wait_for(f"{one}/pushed", 300, first)
            for name in ("digest1", "digest2"):
                with open(f"{two}/{name}", "w") as f:
                    f.write(read(one, name))
            with open(f"{two}/first-key", "w") as f:
                f.write(read(one, "key"))
            second = start(two, f"connect:{port}", None,
                           (SECOND % (NODE.replace("ADDR", f"10.{net}.0.2"), 8 * MIB)).replace("7X", str(net)))
            wait_for(f"{two}/status1", 300, first, second)
            wait_for(f"{two}/midway2", 60, first, second)
            monitor_say(monitor, "set_link n off")
            time.sleep(3)
            assert not os.path.exists(f"{two}/got2"), "the cable was cut after the pull: nothing is shown by it"
            monitor_say(monitor, "set_link n on")
            back = time.monotonic()
            wait_for(f"{two}/status2", 300, first)
            took = time.monotonic() - back
            begun = read(two, "midway2").strip()
            print(f"{device}: cut after {begun} bytes; whole {took:.1f} s after the cable was back")
            for n in ("1", "2"):
                assert read(two, f"got{n}") == read(two, f"digest{n}"), f"pull {n}: the bytes"
            by_rdma = [json.loads(read(two, f"status{n}"))["bytes"]["in"]["peer"]["rdma"] for n in ("1", "2")]
            assert by_rdma[0] > 48 * MIB, f"by RDMA over the cable: {by_rdma}"
            assert by_rdma[1] > by_rdma[0], f"the pull that was cut had begun by RDMA: {by_rdma}"
            failed = [line for line in read(two, "log").splitlines() if "rdma.link_failed" in line]
            assert len(failed) == 1 and "was_up=true" in failed[0], f"one line says that RDMA failed: {failed}"
            assert took < BACK, f"the pull goes on once the cable is back: {took:.1f} s"
            print(f"{device}: bytes by RDMA {by_rdma[0]}, and {by_rdma[1] - by_rdma[0]} of the pull that was cut")
        except AssertionError:
            for where in (one, two):
                if os.path.exists(f"{where}/log"):
                    print(read(where, "log")[-3000:])
            raise
        finally:
            with open(f"{one}/over", "w"):
                pass
            for vm in (first, second):
                if vm is not None:
                    try:
                        vm.wait(60)
                    except subprocess.TimeoutExpired:
                        vm.kill()
                        vm.wait()


def main():
    counts = Counts()
    for device, net in (("rxe0", 77), ("siw0", 78)):
        try:
            run(device, net)
            counts.passed += 1
        except AssertionError as error:
            print(f"{device}: {error}")
            counts.failed.append(f"{device} two machines")
    counts.end()


if __name__ == "__main__":
    main()
