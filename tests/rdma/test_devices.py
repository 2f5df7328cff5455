"""The conformance suite, late writes, bad keys and two thousand connections on Soft-RoCE and on Soft-iWARP, and
nothing of them left in the kernel: seen by the program itself while it lives, and again after its end."""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vm import DEVICES, OUT, Counts, count, guest  # noqa: E402


def main():
    counts = Counts()
    for device, (address, _) in DEVICES.items():
        code, output = guest(f"""
            rdma resource show > /run/before
            FR_RDMA_ADDR={address} {OUT}/rdma_test; code=$?
            rdma resource show > /run/after
            cmp /run/before /run/after && echo 'resources: the same'
            cat /run/after; exit $code""", 600)
        count(counts, device, code, output)
        if "resources: the same" in output:
            counts.passed += 1
        else:
            counts.failed.append(f"{device} leaves something in the kernel")
            print(output[-2000:])
        late = re.findall(r"late completions: (\d+)", output)
        print(f"{device}: late completions {late}")
    counts.end()


if __name__ == "__main__":
    main()
