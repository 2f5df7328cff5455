#include "transport/rdma/verbs.h"

#include <algorithm>

namespace fastreg::transport::rdma {

std::string_view name_of(LinkLayer layer) {
    switch (layer) {
        case LinkLayer::infiniband: return "infiniband";
        case LinkLayer::roce: return "roce";
        case LinkLayer::iwarp: return "iwarp";
    }
    return "?";
}

std::string host_to_advertise(const std::vector<Device>& devices, const std::string& configured) {
    const auto has = [&](const Device& device) {
        return std::ranges::find(device.addresses, configured) != device.addresses.end();
    };
    const bool known = std::ranges::any_of(devices, has);
    for (const Device& device : devices) {
        if (!device.active) continue;
        if (!configured.empty() && (!known || has(device))) return configured;
        if (configured.empty() && !device.addresses.empty()) return device.addresses.front();
    }
    return {};
}

}  // namespace fastreg::transport::rdma
