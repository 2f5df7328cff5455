// The doctor's connection of a process to itself, on a real device.
#include <doctest/doctest.h>

#include <cstdlib>

#include "transport/rdma/machine.h"
#include "transport/rdma/self_test.h"

namespace fastreg::transport::rdma::test {
namespace {

SelfTest of_device() {
    const char* address = std::getenv("FR_RDMA_ADDR");
    if (address == nullptr) FAIL("FR_RDMA_ADDR names no address of an RDMA device");
    return {.address = address, .ack_timeout = 18, .patience = 60s};
}

}  // namespace

TEST_CASE("a chunk goes through the device to this process itself") {
    // What `fastreg doctor` takes for "RDMA works here" has to be a transfer, not a list of devices.
    for (int again = 0; again < 2; ++again) {
        const auto tested = run_self_test(of_device());
        if (!tested) FAIL(describe(tested.error()));
        CHECK(tested->bytes == 4U << 20U);
        CHECK(tested->moved > Duration(0));
    }
}

TEST_CASE("an address that no device has is no address of an RDMA device") {
    SelfTest test = of_device();
    test.address = "127.0.0.1";
    test.patience = 2s;
    CHECK_FALSE(run_self_test(test));
}

TEST_CASE("the system shows what the verbs show, and its files open") {
    const System system = look_at_system();
    CHECK_FALSE(system.devices.empty());
    for (const SystemDevice& device : system.devices) {
        CAPTURE(device.name);
        CHECK(device.state == "ACTIVE");
        CHECK(device.soft_iwarp == device.name.starts_with("siw"));
    }
    CHECK(system.files.size() == system.devices.size() + 1);
    for (const DeviceFile& file : system.files) CHECK(file.os_errno == 0);
    CHECK(system.modules_missing.empty());
}

}  // namespace fastreg::transport::rdma::test
