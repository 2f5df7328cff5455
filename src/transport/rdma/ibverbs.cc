#include "transport/rdma/ibverbs.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "transport/rdma/ibverbs_impl.h"

namespace fastreg::transport::rdma {
namespace {

/// Larger regions are slow to reach for some devices, and truncated by others.
constexpr std::size_t kRegionMax = std::size_t{1} << 30U;

/// Who is not root may pin beyond RLIMIT_MEMLOCK where the program's file permits CAP_IPC_LOCK (Dockerfile.rdma) and
/// the container has it, but only once it takes the capability up. Of the calling thread alone, and before it opens a
/// device: the kernel refuses a descriptor of RDMA to a thread whose capabilities are others than when it was opened.
void take_up_ipc_lock() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    constexpr std::uint32_t lock = 1U << CAP_IPC_LOCK;
    if (::syscall(SYS_capget, &header, sets.data()) != 0) return;
    // Not again where it is in effect, as for root: setting the same counts as a change too.
    if ((sets[0].permitted & lock) == 0 || (sets[0].effective & lock) != 0) return;
    sets[0].effective |= lock;
    (void)::syscall(SYS_capset, &header, sets.data());
}

std::uint32_t bytes_of(ibv_mtu mtu) { return 128U << static_cast<unsigned>(mtu); }

}  // namespace

Status Regions::add(ibv_pd* pd, std::span<std::byte> memory, std::size_t slot_size, int access) {
    const std::size_t each = kRegionMax / slot_size * slot_size;
    for (std::size_t at = 0; at < memory.size(); at += each) {
        const auto part = memory.subspan(at, std::min(each, memory.size() - at));
        Mr mr(ibv_reg_mr(pd, part.data(), part.size(), access));
        if (!mr) return verbs_failed("pinning " + human_bytes(memory.size()) + " of memory for RDMA");
        regions_.push_back(std::move(mr));
    }
    begin_ = memory.data();
    each_ = each;
    return {};
}

void set_nonblocking(int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags >= 0) (void)::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

std::string address_text(const sockaddr* address) {
    std::array<char, NI_MAXHOST> host{};
    const socklen_t size = address->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    if (::getnameinfo(address, size, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0) return {};
    return host.data();
}

IbVerbs::Impl::~Impl() {
    while (!conns.empty()) {
        (void)drop_queue(conns.begin()->second);
        conns.erase(conns.begin());
    }
    listener.reset();
    handles.clear();
    channel.reset();
    if (contexts != nullptr) rdma_free_devices(contexts);
}

Status IbVerbs::Impl::open_device(ibv_context* context) {
    ibv_device_attr about{};
    ibv_port_attr port{};
    if (ibv_query_device(context, &about) != 0 || ibv_query_port(context, 1, &port) != 0) {
        return verbs_failed("asking the RDMA device " + std::string(ibv_get_device_name(context->device)));
    }
    Device device;
    device.name = ibv_get_device_name(context->device);
    device.layer = context->device->transport_type == IBV_TRANSPORT_IWARP ? LinkLayer::iwarp
                   : port.link_layer == IBV_LINK_LAYER_INFINIBAND         ? LinkLayer::infiniband
                                                                          : LinkLayer::roce;
    device.active = port.state == IBV_PORT_ACTIVE;
    device.mtu = bytes_of(port.active_mtu);
    device.message_max = port.max_msg_sz;
    OneDevice handle;
    handle.context = context;
    handle.landing_pd.reset(ibv_alloc_pd(context));
    handle.source_pd.reset(ibv_alloc_pd(context));
    handle.completions.reset(ibv_create_comp_channel(context));
    if (!handle.landing_pd || !handle.source_pd || !handle.completions) {
        return verbs_failed("preparing the RDMA device " + device.name);
    }
    set_nonblocking(handle.completions->fd);
    set_nonblocking(context->async_fd);
    devices.push_back(std::move(device));
    handles.push_back(std::move(handle));
    return {};
}

void IbVerbs::Impl::find_addresses() {
    ifaddrs* all = nullptr;
    if (none_left || ::getifaddrs(&all) != 0) return;
    for (Device& device : devices) device.addresses.clear();
    for (const ifaddrs* at = all; at != nullptr; at = at->ifa_next) {
        if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_LOOPBACK) != 0) continue;
        const int family = at->ifa_addr->sa_family;
        if (family != AF_INET && family != AF_INET6) continue;
        if (family == AF_INET6 &&
            IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(at->ifa_addr)->sin6_addr) != 0) {
            continue;
        }
        rdma_cm_id* raw = nullptr;
        if (rdma_create_id(channel.get(), &raw, nullptr, RDMA_PS_TCP) != 0) continue;
        CmId id(raw);
        if (rdma_bind_addr(raw, at->ifa_addr) != 0 || raw->verbs == nullptr) continue;
        const auto index = index_of(raw->verbs);
        if (!index || handles[*index].removed) continue;
        devices[*index].addresses.push_back(address_text(at->ifa_addr));
        if (!handles[*index].sentinel) handles[*index].sentinel = std::move(id);
    }
    ::freeifaddrs(all);
}

IbVerbs::IbVerbs(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
IbVerbs::~IbVerbs() = default;

Result<std::unique_ptr<IbVerbs>> IbVerbs::open(Options options) {
    auto impl = std::make_unique<Impl>();
    impl->options = options;
    take_up_ipc_lock();
    int count = 0;
    impl->contexts = rdma_get_devices(&count);
    if (impl->contexts == nullptr || count == 0) {
        return fail(Errc::unsupported,
                    "this machine shows no RDMA device; see `rdma link` and `ibv_devices`, load the driver's modules, "
                    "and in a container pass --device=/dev/infiniband",
                    errno);
    }
    impl->channel.reset(rdma_create_event_channel());
    if (!impl->channel) {
        return verbs_failed("opening /dev/infiniband/rdma_cm (load the module rdma_ucm, and in a container pass "
                            "--device=/dev/infiniband)");
    }
    set_nonblocking(impl->channel->fd);
    for (int i = 0; i < count; ++i) FR_TRY(impl->open_device(impl->contexts[i]));
    impl->find_addresses();
    return std::unique_ptr<IbVerbs>(new IbVerbs(std::move(impl)));
}

const std::vector<Device>& IbVerbs::devices() const { return impl_->devices; }

Status IbVerbs::register_memory(std::span<std::byte> landing, std::span<std::byte> source, std::size_t slot_size) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)::setrlimit(RLIMIT_MEMLOCK, &limit);
    }
    impl_->slot_size = slot_size;
    impl_->source_begin = source.data();
    for (OneDevice& handle : impl_->handles) {
        const auto both = [&]() -> Status {
            FR_TRY(handle.landing.add(handle.landing_pd.get(), landing, slot_size,
                                      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
            return handle.source.add(handle.source_pd.get(), source, slot_size, 0);
        };
        if (auto done = both(); !done) {
            for (OneDevice& other : impl_->handles) {
                other.landing.clear();
                other.source.clear();
            }
            return done;
        }
    }
    return {};
}

std::uint32_t IbVerbs::landing_key(DeviceIndex device, const std::byte* place) const {
    return impl_->handles[device].landing.at(place).rkey;
}

int IbVerbs::cm_descriptor() const { return impl_->channel->fd; }
int IbVerbs::completion_descriptor(DeviceIndex device) const {
    const OneDevice& handle = impl_->handles[device];
    return handle.completions ? handle.completions->fd : -1;
}
int IbVerbs::async_descriptor(DeviceIndex device) const {
    const OneDevice& handle = impl_->handles[device];
    return handle.context != nullptr ? handle.context->async_fd : -1;
}

}  // namespace fastreg::transport::rdma
