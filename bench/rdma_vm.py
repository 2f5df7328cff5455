"""Runs bench/rdma_guest.py in the RDMA VM (tools/rdma-vm) and reads its figures."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import rig

DEVICES = {"rxe0": "10.77.0.1", "siw0": "10.78.0.1"}


def label(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def stories():
    """The program of tests/rdma, which is no program of bench/."""
    rig.run("./tools/build", "dev", cwd=rig.ROOT)
    return os.path.join(rig.ROOT, "build", "dev", "tests", "rdma", "rdma_test")


def figures(programs, wanted, *words, node=False):
    """`programs` are brought into the guest's /run/out, with `node` also fastreg and what drives it; `wanted` is how
    many figures there must be."""
    with tempfile.TemporaryDirectory() as out:
        for name in programs:
            shutil.copy(rig.program(name) if name != "rdma_test" else stories(), f"{out}/{name}")
        shutil.copy(os.path.join(rig.ROOT, "bench", "rdma_guest.py"), out)
        if node:
            os.makedirs(f"{out}/tests/integration")
            shutil.copy(os.path.join(rig.ROOT, "tests", "integration", "harness.py"), f"{out}/tests/integration")
            shutil.copy(rig.FASTREG, f"{out}/fastreg")
        command = ["env", "FR_PATIENCE=6", "FASTREG=/run/out/fastreg", "python3", "/run/out/rdma_guest.py",
                   *map(str, words)]
        done = subprocess.run([os.path.join(rig.ROOT, "tools", "rdma-vm"), "--out", out, "--mem", "3G", "--timeout",
                               "1500", "--", *command],
                              text=True, errors="replace", capture_output=True, check=False)
        found = []
        if os.path.exists(f"{out}/figures"):
            with open(f"{out}/figures") as f:
                found = [json.loads(line) for line in f]
    if done.returncode != 0 or len(found) != wanted:
        sys.exit(f"{sys.argv[0]}: {' '.join(map(str, words))}: {len(found)} of {wanted} figures: "
                 f"{(done.stdout + done.stderr)[-2500:]}")
    return found
