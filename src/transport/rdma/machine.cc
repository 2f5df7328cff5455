#include "transport/rdma/machine.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/grid.h"
#include "uv/socket.h"

namespace fastreg::transport::rdma {
namespace {

namespace fs = std::filesystem;

/// ib_core comes with any driver; the other three are what libibverbs and librdmacm speak to.
constexpr std::string_view kModules[] = {"ib_core", "ib_uverbs", "rdma_cm", "rdma_ucm"};
constexpr std::size_t kTextMax = 64U << 10U;
constexpr unsigned kCapIpcLock = 14;
constexpr std::size_t kSourceSlotsMin = 8;
/// What connections pin beside the pools: message buffers, and with some drivers their queues. 64 KiB for each of twice
/// 128 links (Engine::Options::links_max), and as much again.
constexpr std::uint64_t kLinksPin = 32U << 20U;

std::string trimmed(std::string_view text) {
    constexpr std::string_view kBlanks = " \t\r\n";
    const auto first = text.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(kBlanks) - first + 1));
}

/// The files of sysfs are a line each; what is not there or cannot be read is "".
std::string text_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::string text(kTextMax, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(in.gcount(), 0)));
    return trimmed(text);
}

std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
        names.push_back(at->path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::vector<std::string> missing_modules(const std::string& root) {
    std::vector<std::string> missing;
    std::string loaded = "\n";
    std::ifstream in(root + "/proc/modules");
    for (std::string line; std::getline(in, line);) loaded += line.substr(0, line.find(' ')) + "\n";
    std::error_code ignored;
    for (const std::string_view module : kModules) {
        const std::string name(module);
        // What is built into the kernel is not in the list of modules.
        if (loaded.find("\n" + name + "\n") != std::string::npos) continue;
        if (!fs::exists(root + "/sys/module/" + name, ignored)) missing.push_back(name);
    }
    return missing;
}

SystemDevice device_at(const std::string& root, const std::string& name) {
    const std::string folder = root + "/sys/class/infiniband/" + name;
    SystemDevice device;
    device.name = name;
    device.state = state_word(text_of(folder + "/ports/1/state"));
    device.link_layer = text_of(folder + "/ports/1/link_layer");
    device.rate = text_of(folder + "/ports/1/rate");
    device.interface = text_of(folder + "/ports/1/gid_attrs/ndevs/0");
    // An iWARP device of no hardware that is named otherwise is taken for a card: the word is a hint.
    device.soft_iwarp = name.starts_with("siw");
    const std::string verbs = root + "/sys/class/infiniband_verbs";
    for (const std::string& file : names_in(verbs)) {
        if (text_of(verbs + "/" + file + "/ibdev") == name) device.file = "/dev/infiniband/" + file;
    }
    return device;
}

DeviceFile try_to_open(const std::string& root, const std::string& path) {
    const uv::Fd fd(::open((root + path).c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    return {path, fd ? 0 : errno};
}

}  // namespace

LockedMemory locked_memory(const std::string& root) {
    LockedMemory memory;
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        memory.limit = limit.rlim_max == RLIM_INFINITY ? LockedMemory::kUnlimited : limit.rlim_max;
    }
    memory.may_exceed = may_exceed_memlock(text_of(root + "/proc/self/status"), text_of(root + "/proc/self/uid_map"));
    return memory;
}

Slots half_of(Slots slots) { return {slots.landing / 2, std::max(slots.source / 2, kSourceSlotsMin)}; }

Slots slots_within(std::uint64_t limit, Slots wanted, std::size_t landing_min, std::size_t devices) {
    while ((wanted.landing + wanted.source) * kChunkSizeMax * devices + kLinksPin > limit) {
        wanted = half_of(wanted);
        if (wanted.landing < landing_min) return {};
    }
    return wanted;
}

std::string state_word(std::string_view text) {
    const auto colon = text.find(':');
    return trimmed(colon == std::string_view::npos ? text : text.substr(colon + 1));
}

bool may_exceed_memlock(std::string_view status, std::string_view uid_map) {
    // The permitted ones: what is not in effect yet is taken up before a device is opened (ibverbs.cc).
    constexpr std::string_view kField = "CapPrm:";
    const auto at = status.find(kField);
    if (at == std::string_view::npos) return false;
    const std::string digits = trimmed(status.substr(at + kField.size(), 32).substr(0, 24));
    std::uint64_t capabilities = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), capabilities, 16);
    if ((capabilities >> kCapIpcLock & 1U) == 0) return false;
    // In a user namespace of its own the capability is not what the kernel asks for.
    std::istringstream in{std::string(uid_map)};
    std::uint64_t inside = 0;
    std::uint64_t outside = 0;
    std::uint64_t count = 0;
    in >> inside >> outside >> count;
    return in && inside == 0 && outside == 0 && count == UINT32_MAX;
}

std::uint32_t interface_mtu(const std::string& interface, const std::string& root) {
    if (interface.empty() || interface.find('/') != std::string::npos) return 0;
    const std::string text = text_of(root + "/sys/class/net/" + interface + "/mtu");
    std::uint32_t mtu = 0;
    std::from_chars(text.data(), text.data() + text.size(), mtu);
    return mtu;
}

System look_at_system(const std::string& root) {
    System system;
    system.modules_missing = missing_modules(root);
    for (const std::string& name : names_in(root + "/sys/class/infiniband")) {
        system.devices.push_back(device_at(root, name));
    }
    if (!system.devices.empty()) system.files.push_back(try_to_open(root, "/dev/infiniband/rdma_cm"));
    for (const SystemDevice& device : system.devices) {
        if (!device.file.empty()) system.files.push_back(try_to_open(root, device.file));
    }
    system.memory = locked_memory(root);
    return system;
}

}  // namespace fastreg::transport::rdma
