#include "config/config.h"

#include <algorithm>

#include "config/keys.h"

namespace fastreg::config {

std::uint64_t Share::of(std::uint64_t file_system_bytes) const {
    // Divided first: the product could leave 64 bits.
    return percent == 0 ? bytes
                        : file_system_bytes / 100 * percent + file_system_bytes % 100 * percent / 100;
}

std::uint64_t Store::min_free_of(std::uint64_t file_system_bytes) const {
    const std::uint64_t wanted = min_free.of(file_system_bytes);
    return min_free.percent == 0 ? wanted : std::max(wanted, kMinFreeFloor);
}

unsigned Config::io_threads_for(unsigned cores) const {
    if (io_threads != 0) return static_cast<unsigned>(io_threads);
    return std::clamp(cores, 1U, 4U);
}

unsigned Config::disk_threads_for(unsigned cores) const {
    if (disk_threads != 0) return static_cast<unsigned>(disk_threads);
    return std::clamp(cores, 2U, 4U);
}

std::string absolute(std::string_view path, std::string_view working_dir) {
    while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
    if (path.starts_with('/') || working_dir.empty()) return std::string(path);
    while (path.starts_with("./")) {
        path.remove_prefix(2);
        path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
    }
    std::string whole(working_dir);
    if (path.empty() || path == ".") return whole;
    if (whole.back() != '/') whole += '/';
    return whole.append(path);
}

std::string_view name_of(Origin origin) {
    switch (origin) {
        case Origin::built_in: return "default";
        case Origin::file: return "file";
        case Origin::environment: return "environment";
        case Origin::flag: return "flag";
    }
    return "default";
}

Changes compare(const Config& running, const Config& wanted) {
    Changes changes;
    for (const Key& key : keys()) {
        if (print(key, running) == print(key, wanted)) continue;
        (key.reloadable ? changes.reloadable : changes.needs_restart).emplace_back(key.path);
    }
    return changes;
}

Config reloaded(const Config& running, const Config& wanted) {
    Config merged = running;
    Config source = wanted;
    for (const Key& key : keys()) {
        if (!key.reloadable) continue;
        std::visit([&](const auto& at) { at(merged) = at(source); }, key.field);
    }
    return merged;
}

}  // namespace fastreg::config
