// What the system says of RDMA without being asked through the verbs: modules, devices, the files to reach
// them by, and how much memory may be pinned. For `fastreg doctor`; reads /proc, /sys and /dev. Blocking;
// any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fastreg::transport::rdma {

/// One device as sysfs has it (/sys/class/infiniband/NAME, port 1).
struct SystemDevice {
    std::string name;
    std::string state;       // "ACTIVE", "DOWN", "INIT", "ARMED"; "" where the system does not say
    std::string link_layer;  // "Ethernet", "InfiniBand"
    std::string rate;        // "100 Gb/sec (4X EDR)"
    std::string interface;   // its network interface; "" where the system does not say
    std::string file;        // /dev/infiniband/uverbsN
    bool soft_iwarp = false;
};

/// A file that has to be there and to open.
struct DeviceFile {
    std::string path;
    int os_errno = 0;  // of opening it for reading and writing; 0: it opens
};

struct LockedMemory {
    static constexpr std::uint64_t kUnlimited = UINT64_MAX;
    std::uint64_t limit = 0;  // RLIMIT_MEMLOCK in bytes, the hard one: a node raises the soft one to it
    bool may_exceed = false;  // permitted CAP_IPC_LOCK of the machine's own user namespace; soft iWARP minds it not
};

struct System {
    std::vector<std::string> modules_missing;
    std::vector<SystemDevice> devices;
    std::vector<DeviceFile> files;  // rdma_cm, and uverbsN of each device
    LockedMemory memory;
};

/// Landing and source slots of 4 MiB. Landing 0: none.
struct Slots {
    std::size_t landing = 0;
    std::size_t source = 0;
    bool operator==(const Slots&) const = default;
};
/// Half of what was wanted, and half of that, until as many devices can pin them within `limit` bytes, and connections
/// what they need besides (32 MiB); none where that would be fewer than `landing_min` landing slots.
[[nodiscard]] Slots slots_within(std::uint64_t limit, Slots wanted, std::size_t landing_min, std::size_t devices);
[[nodiscard]] Slots half_of(Slots slots);

[[nodiscard]] LockedMemory locked_memory(const std::string& root = {});
/// `root` is put before every path, so that tests look at a machine of their own.
[[nodiscard]] System look_at_system(const std::string& root = {});
/// Of a network interface; 0 where there is none of that name.
[[nodiscard]] std::uint32_t interface_mtu(const std::string& interface, const std::string& root = {});
/// From the texts of /proc/self/status and /proc/self/uid_map.
[[nodiscard]] bool may_exceed_memlock(std::string_view status, std::string_view uid_map);
/// "4: ACTIVE" is "ACTIVE".
[[nodiscard]] std::string state_word(std::string_view text);

}  // namespace fastreg::transport::rdma
