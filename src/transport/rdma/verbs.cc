#include "transport/rdma/verbs.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

namespace fastreg::transport::rdma {
namespace {

/// An address in the one spelling that devices' addresses have; a name as it is.
std::string as_numbers(const std::string& host) {
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    std::array<char, INET6_ADDRSTRLEN> text{};
    for (const int family : {AF_INET, AF_INET6}) {
        if (::inet_pton(family, host.c_str(), bytes.data()) == 1) {
            return ::inet_ntop(family, bytes.data(), text.data(), text.size());
        }
    }
    return host;
}

}  // namespace

std::string_view name_of(LinkLayer layer) {
    switch (layer) {
        case LinkLayer::infiniband: return "infiniband";
        case LinkLayer::roce: return "roce";
        case LinkLayer::iwarp: return "iwarp";
    }
    return "?";
}

std::string host_to_advertise(const std::vector<Device>& devices, const std::string& advertise,
                              const std::string& listening, std::optional<DeviceIndex>& leads_to) {
    const bool any_of_four = listening == "0.0.0.0";
    const bool any = any_of_four || listening == "::";
    const std::string configured = !advertise.empty() ? advertise : any ? std::string() : listening;
    const std::string wanted = as_numbers(configured);
    for (DeviceIndex i = 0; i < devices.size(); ++i) {
        const auto& has = devices[i].addresses;
        if (!leads_to && std::ranges::find(has, wanted) != has.end()) leads_to = i;
    }
    for (DeviceIndex i = 0; i < devices.size(); ++i) {
        if (!devices[i].active) continue;
        if (!configured.empty() && (!leads_to || *leads_to == i)) return configured;
        if (!configured.empty()) continue;
        for (const std::string& has : devices[i].addresses) {
            if (!any_of_four || has.find(':') == std::string::npos) return has;
        }
    }
    return {};
}

}  // namespace fastreg::transport::rdma
