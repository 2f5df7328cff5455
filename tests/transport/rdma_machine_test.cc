// What the system says of RDMA, on machines that are made of files.
#include <doctest/doctest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "transport/rdma/machine.h"

namespace fastreg::transport::rdma::test {
namespace {

/// A root with the files that a story needs.
class Machine {
  public:
    Machine() {
        std::string name = (std::filesystem::temp_directory_path() / "fastreg-machine-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        root_ = name;
    }
    ~Machine() {
        std::error_code ignored;
        std::filesystem::remove_all(root_, ignored);
    }
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;
    void has(const std::string& path, const std::string& text = "") const {
        std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
        std::ofstream(root_ + path) << text;
    }
    void has_device(const std::string& name, const std::string& uverbs, const std::string& state) const {
        const std::string port = "/sys/class/infiniband/" + name + "/ports/1";
        has(port + "/state", state + "\n");
        has(port + "/link_layer", "Ethernet\n");
        has(port + "/rate", "100 Gb/sec (4X EDR)\n");
        has("/sys/class/infiniband_verbs/" + uverbs + "/ibdev", name + "\n");
    }
    [[nodiscard]] const std::string& root() const { return root_; }

  private:
    std::string root_;
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a machine without RDMA has no device, and no file is looked for") {
    const Machine machine;
    const System system = look_at_system(machine.root());
    CHECK(system.devices.empty());
    CHECK(system.files.empty());
    CHECK(system.modules_missing == Names{"ib_core", "ib_uverbs", "rdma_cm", "rdma_ucm"});
}

TEST_CASE("a module is there when it was loaded, or was built into the kernel") {
    const Machine machine;
    machine.has("/proc/modules", "rdma_ucm 32768 0 - Live 0x0\nib_uverbs 188416 1 rdma_ucm, Live 0x0\n");
    machine.has("/sys/module/ib_core/parameters/x");
    // "rdma_cm" in the list of who uses what, or as the end of a name, does not make it loaded.
    CHECK(look_at_system(machine.root()).modules_missing == Names{"rdma_cm"});
}

TEST_CASE("a device is described by its first port, its interface and the file that leads to it") {
    const Machine machine;
    machine.has_device("mlx5_0", "uverbs0", "4: ACTIVE");
    machine.has("/sys/class/infiniband/mlx5_0/ports/1/gid_attrs/ndevs/0", "ens1f0\n");
    machine.has_device("siw0", "uverbs1", "1: DOWN");
    machine.has("/dev/infiniband/rdma_cm");
    machine.has("/dev/infiniband/uverbs0");
    machine.has("/sys/class/net/ens1f0/mtu", "9000\n");
    const System system = look_at_system(machine.root());
    REQUIRE(system.devices.size() == 2);
    CHECK(system.devices[0].name == "mlx5_0");
    CHECK(system.devices[0].state == "ACTIVE");
    CHECK(system.devices[0].interface == "ens1f0");
    CHECK(system.devices[0].rate == "100 Gb/sec (4X EDR)");
    CHECK_FALSE(system.devices[0].soft_iwarp);
    CHECK(system.devices[1].state == "DOWN");
    CHECK(system.devices[1].interface.empty());
    CHECK(system.devices[1].soft_iwarp);
    // A container that was given some of the files only: the one that is not there is named.
    REQUIRE(system.files.size() == 3);
    CHECK(system.files[0].os_errno == 0);
    CHECK(system.files[1].path == "/dev/infiniband/uverbs0");
    CHECK(system.files[1].os_errno == 0);
    CHECK(system.files[2].path == "/dev/infiniband/uverbs1");
    CHECK(system.files[2].os_errno == ENOENT);
    CHECK(interface_mtu("ens1f0", machine.root()) == 9000);
    CHECK(interface_mtu("ens9", machine.root()) == 0);
    CHECK(interface_mtu("../ens1f0", machine.root()) == 0);
}

TEST_CASE("CAP_IPC_LOCK exceeds the limit of locked memory only in the machine's own user namespace") {
    const std::string all = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n";
    const std::string whole = "         0          0 4294967295\n";
    CHECK(may_exceed_memlock(all, whole));
    CHECK_FALSE(may_exceed_memlock(all, "         0     100000      65536\n"));
    CHECK(may_exceed_memlock("CapPrm:\t0000000000004000\n", whole));
    CHECK_FALSE(may_exceed_memlock("CapPrm:\t0000000000003fff\nCapEff:\t0000000000004000\n", whole));
    CHECK_FALSE(may_exceed_memlock("", whole));
    CHECK_FALSE(may_exceed_memlock(all, ""));
}

TEST_CASE("the word of a port's state stands behind its number") {
    CHECK(state_word("4: ACTIVE\n") == "ACTIVE");
    CHECK(state_word("ACTIVE") == "ACTIVE");
    CHECK(state_word("").empty());
}

}  // namespace fastreg::transport::rdma::test
