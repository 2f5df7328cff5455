"""Runs programs in the RDMA VM (tools/rdma-vm) and counts what they say of their tests.

What a guest runs is copied into its $OUT, which is /run/out there: the checkout may lie below /tmp, where the guest
has a disk of its own.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VM = os.path.join(ROOT, "tools", "rdma-vm")
FASTREG = os.environ.get("FASTREG", f"{ROOT}/build/dev/fastreg")
RDMA_TEST = os.environ.get("FR_RDMA_TEST", f"{ROOT}/build/dev/tests/rdma/rdma_test")
OUT = "/run/out"
DEVICES = {"rxe0": ("10.77.0.1", "dummy0"), "siw0": ("10.78.0.1", "dummy1")}


class Counts:
    def __init__(self):
        self.passed, self.failed = 0, []

    def end(self):
        """Says the closing line that tools/check reads."""
        for name in self.failed:
            print(f"FAILED {name}")
        print(f"{self.passed} passed, {len(self.failed)} failed")
        sys.exit(1 if self.failed or not self.passed else 0)


def bring(out):
    """What guests run, into the folder that is /run/out there."""
    shutil.copy(FASTREG, f"{out}/fastreg")
    shutil.copy(RDMA_TEST, f"{out}/rdma_test")
    for path in ("tests/rdma/guest_mesh.py", "tests/integration/harness.py"):
        os.makedirs(os.path.dirname(f"{out}/{path}"), exist_ok=True)
        shutil.copy(f"{ROOT}/{path}", f"{out}/{path}")


def guest(script, seconds):
    """Runs a shell script in a VM of its own; its exit code and all it printed."""
    with tempfile.TemporaryDirectory() as out:
        bring(out)
        done = subprocess.run([VM, "--out", out, "--mem", "3G", "--timeout", str(seconds), "--", "bash", "-c", script],
                              cwd=ROOT, text=True, errors="replace", capture_output=True, check=False,
                              timeout=seconds + 600)
    return done.returncode, done.stdout + done.stderr


def count(counts, name, code, output):
    """Both kinds of closing lines: doctest's and run_cases'. A guest without any of them has failed."""
    for line in re.findall(r"^(?:ok |NOTE ).*$", output, re.M):
        print(f"{name}: {line}")
    for what in re.findall(r"^SKIPPED (.*)$", output, re.M):
        print(f"SKIPPED {name} {what}")
    seen = False
    for passed, failed in re.findall(r"test cases:\s+\d+ \|\s+(\d+) passed \|\s+(\d+) failed", output):
        seen = True
        counts.passed += int(passed)
        counts.failed += [f"{name} rdma_test"] * int(failed)
    for passed, failed in re.findall(r"^(\d+) passed, (\d+) failed\s*$", output, re.M):
        seen = True
        counts.passed += int(passed)
        names = re.findall(r"^FAILED (\S+)", output, re.M)
        counts.failed += [f"{name} {n}" for n in names] or [f"{name} ?"] * int(failed)
    if code != 0 or not seen:
        print(output[-6000:])
    if not seen:
        counts.failed.append(f"{name} said nothing (exit {code})")
    elif code != 0 and not counts.failed:
        counts.failed.append(f"{name} exit {code}")
