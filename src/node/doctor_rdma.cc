#include "node/doctor_rdma.h"

#include <algorithm>
#include <cerrno>

#include "base/bytes.h"
#include "base/grid.h"
#include "transport/rdma/ibverbs.h"
#include "transport/rdma/transport.h"
#include "uv/socket.h"

namespace fastreg::node {
namespace {

using transport::rdma::Device;
using transport::rdma::IbVerbs;
using transport::rdma::LinkLayer;
using transport::rdma::LockedMemory;
using transport::rdma::SystemDevice;

/// What the kernel allows for headers and checksum of RoCE: IPv6, UDP and the longest transport headers.
constexpr std::uint32_t kRoceHeaders = 96;
constexpr std::uint32_t kRoceMtuMax = 4096;

class Judge {
  public:
    Judge(const RdmaFacts& facts, const config::Rdma& rdma, const Running& running)
        : facts_(facts), rdma_(rdma), running_(running) {}

    std::vector<Finding> run() {
        const auto& devices = facts_.system.devices;
        if (devices.empty()) {
            say(rdma_.enabled ? Verdict::warn : Verdict::ok,
                "RDMA",
                "no RDMA device; chunks go by TCP",
                rdma_.enabled ? "load the driver of the card (`rdma link` shows its devices), or leave --rdma-enabled "
                                "out"
                              : "");
            return std::move(found_);
        }
        say(Verdict::ok,
            "RDMA",
            (rdma_.enabled ? "on, with " : "off; the machine has ") + std::to_string(devices.size()) +
                (devices.size() == 1 ? " device" : " devices"),
            rdma_.enabled ? "" : "--rdma-enabled to use it");
        modules();
        files();
        if (!facts_.opened) {
            say(Verdict::fail,
                "RDMA devices",
                describe(facts_.opened.error()),
                "the lines above say what is missing; `ibv_devinfo` shows the same");
        }
        for (const SystemDevice& device : devices) one_device(device);
        memory();
        if (facts_.opened) {
            address();
            port();
        }
        for (const auto& loopback : facts_.loopbacks) one_loopback(loopback);
        return std::move(found_);
    }

  private:
    void say(Verdict verdict, std::string what, std::string seen, std::string advice = {}) {
        if (!rdma_.enabled && verdict == Verdict::fail) verdict = Verdict::warn;
        found_.push_back({verdict, std::move(what), std::move(seen), std::move(advice)});
    }

    [[nodiscard]] const Device* opened(const std::string& name) const {
        const auto found = std::ranges::find(facts_.devices, name, &Device::name);
        return found == facts_.devices.end() ? nullptr : &*found;
    }

    void modules() {
        std::string names;
        for (const std::string& name : facts_.system.modules_missing) names += (names.empty() ? "" : " ") + name;
        if (names.empty()) {
            say(Verdict::ok, "RDMA modules", "ib_core, ib_uverbs, rdma_cm and rdma_ucm are loaded");
        } else {
            say(Verdict::fail,
                "RDMA modules",
                names + " not loaded",
                "modprobe -a " + names + "; a file in /etc/modules-load.d keeps them");
        }
    }

    void files() {
        bool all = true;
        for (const auto& file : facts_.system.files) {
            if (file.os_errno == 0) continue;
            all = false;
            const bool absent = file.os_errno == ENOENT;
            const bool denied = file.os_errno == EACCES || file.os_errno == EPERM;
            say(Verdict::fail,
                file.path,
                absent   ? "it is not there"
                : denied ? "this user may not open it"
                         : "it does not open: " + describe({Errc::io, file.os_errno, "the system says"}),
                absent ? "in a container: --device=/dev/infiniband -v /dev/infiniband:/dev/infiniband; on the machine "
                         "itself: modprobe -a rdma_ucm ib_uverbs"
                : denied ? "chmod 0666 by a udev rule, as rdma-core ships one; in a container: --device=/dev/infiniband"
                         : "look at dmesg");
        }
        if (all) say(Verdict::ok, "RDMA device files", std::to_string(facts_.system.files.size()) + " open");
    }

    [[nodiscard]] std::string interface_of_device(const SystemDevice& device, const Device* verbs) const {
        if (!device.interface.empty() || verbs == nullptr || verbs->addresses.empty()) return device.interface;
        return interface_of(verbs->addresses.front(), facts_.own);
    }

    void one_device(const SystemDevice& device) {
        const Device* verbs = opened(device.name);
        const std::string what = "device " + device.name;
        const std::string layer = verbs != nullptr ? std::string(name_of(verbs->layer)) : device.link_layer;
        const std::string interface = interface_of_device(device, verbs);
        const std::string on = interface.empty() ? "" : " on " + interface;
        if (device.state != "ACTIVE") {
            say(Verdict::fail,
                what,
                layer + on + ", port " + (device.state.empty() ? "in no known state" : device.state),
                layer == name_of(LinkLayer::infiniband) && device.state != "DOWN"
                    ? "start a subnet manager (opensm) in the fabric"
                    : "look at the cable, and: ip link set " + (interface.empty() ? "INTERFACE" : interface) + " up");
            return;
        }
        std::string seen = layer + on + ", port ACTIVE" + (device.rate.empty() ? "" : ", " + device.rate);
        if (verbs == nullptr) return say(Verdict::ok, what, seen);
        if (verbs->addresses.empty()) {
            return say(Verdict::warn,
                       what,
                       seen + ", no address leads to it",
                       "give " + (interface.empty() ? "its interface" : interface) + " an IP address" +
                           (verbs->layer == LinkLayer::infiniband ? " (IPoIB: modprobe ib_ipoib)" : ""));
        }
        seen += ", reached by";
        for (const std::string& address : verbs->addresses) seen += " " + address;
        seen += ", MTU " + std::to_string(verbs->mtu);
        mtu(what, seen, interface, *verbs);
    }

    /// The payload of RoCE follows the MTU of the interface; of the others it is the fabric's or TCP's.
    void mtu(const std::string& what, const std::string& seen, const std::string& interface, const Device& device) {
        const auto known = facts_.mtus.find(interface);
        if (device.layer != LinkLayer::roce || device.mtu >= kRoceMtuMax || known == facts_.mtus.end()) {
            return say(Verdict::ok, what, seen);
        }
        const std::uint32_t of_interface = known->second;
        if (roce_mtu_of(of_interface) > device.mtu) {
            return say(Verdict::warn,
                       what,
                       seen + " though " + interface + " has " + std::to_string(of_interface),
                       "set the device down and up again: its MTU was taken when the interface had a smaller one");
        }
        say(Verdict::warn,
            what,
            seen + " because " + interface + " has " + std::to_string(of_interface),
            "ip link set " + interface + " mtu 9000, on every node and switch between them, gives packets of 4096");
    }

    void memory() {
        const LockedMemory& memory = facts_.system.memory;
        const auto& devices = facts_.system.devices;
        const std::uint64_t slots = rdma_.landing_slots + rdma_.source_slots;
        const std::uint64_t need = slots * kChunkSizeMax * devices.size();
        const std::string what = "locked memory";
        const std::string pools = human_bytes(need) + " are wanted (" + std::to_string(slots) + " slots of 4 MiB, " +
                                  std::to_string(devices.size()) + (devices.size() == 1 ? " device)" : " devices)");
        if (memory.limit == LockedMemory::kUnlimited) return say(Verdict::ok, what, "no limit; " + pools);
        const std::string limit = "the limit is " + human_bytes(memory.limit) + ", " + pools;
        const bool soft_iwarp = std::ranges::any_of(devices, &SystemDevice::soft_iwarp);
        if (memory.may_exceed && !soft_iwarp) return say(Verdict::ok, what, limit + ", and CAP_IPC_LOCK may exceed it");
        const std::uint64_t landing = landing_slots_within(memory.limit, rdma_, devices.size());
        const std::string raise =
            "LimitMEMLOCK=infinity (systemd), --ulimit memlock=-1 (containers), or ulimit -l unlimited" +
            std::string(memory.may_exceed ? "; soft iWARP does not heed CAP_IPC_LOCK" : "");
        if (landing == rdma_.landing_slots) return say(Verdict::ok, what, limit);
        if (landing == 0) return say(Verdict::fail, what, limit, raise + "; without it chunks go by TCP");
        say(Verdict::warn,
            what,
            limit + "; a node gets " + std::to_string(landing) + " landing slots of " +
                std::to_string(rdma_.landing_slots),
            raise);
    }

    /// As RdmaTransport::open chooses it.
    [[nodiscard]] std::string advertised() const {
        if (!rdma_.advertise_addr.empty()) return rdma_.advertise_addr;
        if (rdma_.listen_addr != "0.0.0.0" && rdma_.listen_addr != "::") return rdma_.listen_addr;
        std::optional<transport::rdma::DeviceIndex> leads_to;
        return transport::rdma::host_to_advertise(facts_.devices, "", rdma_.listen_addr, leads_to);
    }

    void address() {
        const std::string host = advertised();
        Finding found = judge_advertised("--rdma-advertise-addr", host, interface_of(host, facts_.own));
        const auto leads = [&](const Device& device) {
            return device.active && std::ranges::count(device.addresses, host) > 0;
        };
        std::string choice;
        for (const Device& device : facts_.devices) {
            if (!device.active) continue;
            for (const std::string& each : device.addresses) choice += (choice.empty() ? "" : ", ") + each;
        }
        const auto device = std::ranges::find_if(facts_.devices, leads);
        if (found.verdict != Verdict::ok || device == facts_.devices.end()) {
            found.verdict = Verdict::fail;
            if (device == facts_.devices.end() && !host.empty()) found.seen += ", which leads to no active RDMA device";
            found.advice = choice.empty() ? "give the interface of an RDMA device an address"
                                          : "--rdma-advertise-addr with one of " + choice;
        } else {
            found.seen += ", which leads to " + device->name;
        }
        say(found.verdict, found.what, found.seen, found.advice);
    }

    void port() {
        const Endpoint at{rdma_.listen_addr, static_cast<std::uint16_t>(rdma_.listen_port)};
        const std::string what = "port " + std::to_string(at.port) + " (--rdma-listen-port)";
        const bool ours =
            running_ && std::ranges::any_of(*running_, [&](const Endpoint& e) { return e.port == at.port; });
        if (at.port == 0) return say(Verdict::ok, what, "any free one");
        if (facts_.listened) return say(Verdict::ok, what, at.str() + " is free for RDMA");
        if (ours) return say(Verdict::ok, what, at.str() + " is held by the node that runs here");
        say(Verdict::fail,
            what,
            describe(facts_.listened.error()),
            "choose another with --rdma-listen-port, or another --rdma-listen-addr");
    }

    void one_loopback(const RdmaFacts::Loopback& loopback) {
        const std::string what = "RDMA through " + loopback.device;
        if (!loopback.outcome) {
            return say(Verdict::fail,
                       what,
                       describe(loopback.outcome.error()) + " (" + loopback.address + ")",
                       "mend what is above first; then compare: ib_write_bw -R on " + loopback.address);
        }
        const auto& good = *loopback.outcome;
        say(Verdict::ok,
            what,
            human_bytes(good.bytes) + " by RDMA Write to itself at " + loopback.address +
                ", every byte compared; connected in " + std::to_string(millis_of(good.connected)) + " ms, moved in " +
                std::to_string(millis_of(good.moved)) + " ms");
    }

    const RdmaFacts& facts_;
    const config::Rdma& rdma_;
    const Running& running_;
    std::vector<Finding> found_;
};

}  // namespace

RdmaFacts look_at_rdma(const config::Rdma& rdma) {
    RdmaFacts facts;
    facts.system = transport::rdma::look_at_system();
    if (facts.system.devices.empty()) return facts;
    facts.own = own_addresses();
    for (const OwnAddress& address : facts.own) {
        facts.mtus[address.interface] = transport::rdma::interface_mtu(address.interface);
    }
    const auto ack_timeout = static_cast<std::uint8_t>(rdma.ack_timeout);
    const auto tos = static_cast<std::uint8_t>(rdma.tos);
    {
        auto opened = IbVerbs::open({ack_timeout, tos});
        if (!opened) {
            facts.opened = Status(tl::unexpect, opened.error());
            return facts;
        }
        facts.devices = (*opened)->devices();
        const auto port = (*opened)->listen({rdma.listen_addr, static_cast<std::uint16_t>(rdma.listen_port)});
        if (!port) facts.listened = Status(tl::unexpect, port.error());
    }
    for (const Device& device : facts.devices) {
        if (!device.active || device.addresses.empty()) continue;
        const std::string& address = device.addresses.front();
        facts.loopbacks.push_back({device.name, address, transport::rdma::run_self_test({address, ack_timeout, tos})});
    }
    return facts;
}

std::vector<Finding> judge_rdma(const RdmaFacts& facts, const config::Rdma& rdma, const Running& running) {
    return Judge(facts, rdma, running).run();
}

std::uint64_t landing_slots_within(std::uint64_t limit, const config::Rdma& rdma, std::size_t devices) {
    const std::size_t least = transport::RdmaTransport::Options().landing_slots_min;
    return transport::rdma::slots_within(limit, {rdma.landing_slots, rdma.source_slots}, least, devices).landing;
}

std::uint32_t roce_mtu_of(std::uint32_t interface_mtu) {
    std::uint32_t mtu = kRoceMtuMax;
    while (mtu > 256 && mtu + kRoceHeaders > interface_mtu) mtu /= 2;
    return mtu;
}

}  // namespace fastreg::node
