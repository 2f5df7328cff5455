"""Real nodes over RDMA in a VM, on Soft-RoCE and on Soft-iWARP: tests/rdma/guest_mesh.py.

An emulator is slow: each case runs on the device that it says most about, and on both with FR_FULL.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vm import DEVICES, OUT, Counts, count, guest  # noqa: E402

CASES = {
    "rxe0": ["test_chunks_go_by_rdma_between_all_who_pull", "test_a_peer_killed_in_mid_chunk",
             "test_an_address_where_nobody_answers", "test_a_peer_without_rdma",
             "test_the_doctor_and_the_bench_see_the_device", "test_the_device_is_removed"],
    # Soft iWARP counts locked memory of root too, and takes connections again after its link was down.
    "siw0": ["test_chunks_go_by_rdma_between_all_who_pull", "test_memory_that_may_not_be_pinned",
             "test_the_link_goes_down_and_comes_back"],
}


def main():
    counts = Counts()
    for device, (address, network) in DEVICES.items():
        code, output = guest(f"FR_PATIENCE=6 FASTREG={OUT}/fastreg FR_RDMA_ADDR={address} FR_RDMA_DEV={device} "
                             f"FR_RDMA_NET={network} python3 {OUT}/tests/rdma/guest_mesh.py " +
                             ("" if os.environ.get("FR_FULL") else " ".join(CASES[device])), 900)
        count(counts, device, code, output)
    counts.end()


if __name__ == "__main__":
    main()
