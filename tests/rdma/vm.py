"""Runs programs in the RDMA VM (tools/rdma-vm) and counts what they say of their tests."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VM = os.path.join(ROOT, "tools", "rdma-vm")
FASTREG = os.environ.get("FASTREG", f"{ROOT}/build/dev/fastreg")
RDMA_TEST = os.environ.get("FR_RDMA_TEST", f"{ROOT}/build/dev/tests/rdma/rdma_test")
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


def guest(script, seconds, options=()):
    """Runs a shell script in a VM of its own; all it printed."""
    done = subprocess.run([VM, "--mem", "3G", "--timeout", str(seconds), *options, "--", "bash", "-c", script],
                          cwd=ROOT, text=True, errors="replace", capture_output=True, check=False,
                          timeout=seconds + 600)
    return done.returncode, done.stdout + done.stderr


def count(counts, name, code, output):
    """Both kinds of closing lines: doctest's and run_cases'. A guest without any of them has failed."""
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
