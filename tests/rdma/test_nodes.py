"""Real nodes over RDMA in a VM, on Soft-RoCE and on Soft-iWARP: every case of tests/rdma/guest_mesh.py."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vm import DEVICES, OUT, Counts, count, guest  # noqa: E402


def main():
    counts = Counts()
    for device, (address, network) in DEVICES.items():
        code, output = guest(f"FR_PATIENCE=6 FASTREG={OUT}/fastreg FR_RDMA_ADDR={address} FR_RDMA_DEV={device} "
                             f"FR_RDMA_NET={network} python3 {OUT}/tests/rdma/guest_mesh.py", 900)
        count(counts, device, code, output)
    counts.end()


if __name__ == "__main__":
    main()
