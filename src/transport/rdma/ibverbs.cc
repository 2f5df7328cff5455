#include "transport/rdma/ibverbs.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <infiniband/verbs.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netdb.h>
#include <rdma/rdma_cma.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>

#include "base/log.h"
#include "wire/rdma.h"

namespace fastreg::transport::rdma {
namespace {

using Type = CmEvent::Type;

/// Larger regions are slow to reach for some devices, and truncated by others.
constexpr std::size_t kRegionMax = std::size_t{1} << 30U;
constexpr int kResolveMs = 2000;
constexpr int kBacklog = 1024;
/// Of events of completion queues: acknowledging takes a lock.
constexpr unsigned kAckAtOnce = 64;
constexpr std::size_t kSegmentsMax = 4U << 20U >> 16U;  // a chunk in the smallest segments
/// Receives are posted before a peer may send: not-ready is a defect, and must not hang a connection.
constexpr std::uint8_t kReceiverNotReadyTries = 3;
constexpr std::uint8_t kTries = 7;

tl::unexpected<Error> failed(std::string doing) { return fail(Errc::network, std::move(doing), errno); }

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

void set_nonblocking(int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags >= 0) (void)::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

template <class Handle, auto Free>
struct Freer {
    void operator()(Handle* handle) const { (void)Free(handle); }
};
using Channel = std::unique_ptr<rdma_event_channel, Freer<rdma_event_channel, rdma_destroy_event_channel>>;
using CmId = std::unique_ptr<rdma_cm_id, Freer<rdma_cm_id, rdma_destroy_id>>;
using Pd = std::unique_ptr<ibv_pd, Freer<ibv_pd, ibv_dealloc_pd>>;
using Mr = std::unique_ptr<ibv_mr, Freer<ibv_mr, ibv_dereg_mr>>;
using Cq = std::unique_ptr<ibv_cq, Freer<ibv_cq, ibv_destroy_cq>>;
using CompletionChannel = std::unique_ptr<ibv_comp_channel, Freer<ibv_comp_channel, ibv_destroy_comp_channel>>;

/// A numeric address and port as the sockets API has it.
struct Address {
    sockaddr_storage storage{};
    [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Result<Address> address_of(const Endpoint& endpoint) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const std::string port = std::to_string(endpoint.port);
    if (::getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &found) != 0) {
        return fail(Errc::invalid_argument, "'" + endpoint.host + "' is no numeric address");
    }
    Address address;
    std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    ::freeaddrinfo(found);
    return address;
}

std::string text_of(const sockaddr* address) {
    std::array<char, NI_MAXHOST> host{};
    const socklen_t size = address->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    if (::getnameinfo(address, size, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0) return {};
    return host.data();
}

/// Memory registered with one device, cut into regions of whole slots.
class Regions {
  public:
    Status add(ibv_pd* pd, std::span<std::byte> memory, std::size_t slot_size, int access) {
        const std::size_t each = kRegionMax / slot_size * slot_size;
        for (std::size_t at = 0; at < memory.size(); at += each) {
            const auto part = memory.subspan(at, std::min(each, memory.size() - at));
            Mr mr(ibv_reg_mr(pd, part.data(), part.size(), access));
            if (!mr) return failed("pinning " + human_bytes(memory.size()) + " of memory for RDMA");
            regions_.push_back(std::move(mr));
        }
        begin_ = memory.data();
        each_ = each;
        return {};
    }
    [[nodiscard]] const ibv_mr& at(const std::byte* place) const {
        return *regions_.at(static_cast<std::size_t>(place - begin_) / each_);
    }
    void clear() { regions_.clear(); }
    [[nodiscard]] bool empty() const { return regions_.empty(); }

  private:
    std::vector<Mr> regions_;
    const std::byte* begin_ = nullptr;
    std::size_t each_ = 1;
};

struct OneDevice {
    ibv_context* context = nullptr;  // librdmacm's own, which closes it
    /// Bound to an address of the device: it is told of the device's removal even when nobody is connected.
    CmId sentinel;
    bool removed = false;
    Pd landing_pd;
    Pd source_pd;
    CompletionChannel completions;
    Regions landing;
    Regions source;
};

/// Page-aligned, so that a device's view of a page is not shared with other memory.
struct MessageBuffers {
    explicit MessageBuffers(std::size_t count) : count_(count) {
        memory_ = static_cast<std::byte*>(std::aligned_alloc(4096, (bytes() + 4095) / 4096 * 4096));
        FR_ASSERT(memory_ != nullptr);
    }
    ~MessageBuffers() { std::free(memory_); }
    MessageBuffers(const MessageBuffers&) = delete;
    MessageBuffers& operator=(const MessageBuffers&) = delete;
    [[nodiscard]] std::span<std::byte> at(std::size_t index) const {
        return {memory_ + index * wire::kRdmaMessageMax, wire::kRdmaMessageMax};
    }
    [[nodiscard]] std::size_t bytes() const { return count_ * wire::kRdmaMessageMax; }
    std::byte* memory_;
    std::size_t count_;
};

struct Conn {
    ConnId id = 0;
    CmId cm;
    DeviceIndex device = 0;
    Cq cq;
    unsigned events_unacked = 0;
    QueueSizes sizes;
    std::unique_ptr<MessageBuffers> buffers;  // receives, then sends
    Mr buffers_mr;
    std::uint32_t inline_max = 0;
    std::uint64_t sent = 0;
    bool established = false;
};

std::string_view word_of(ibv_wc_status status) { return ibv_wc_status_str(status); }

std::string reject_word(int status) {
    switch (status) {
        case 8: return "nobody listens there";
        case 10: return "the peer still has a connection of an earlier life";
        case 28: return "refused by the peer";
        case -ECONNREFUSED: return "nobody listens there";
        default: return "refused (status " + std::to_string(status) + ")";
    }
}

std::uint32_t bytes_of(ibv_mtu mtu) { return 128U << static_cast<unsigned>(mtu); }

}  // namespace

struct IbVerbs::Impl {
    Options options;
    Channel channel;
    ibv_context** contexts = nullptr;
    std::vector<Device> devices;
    std::vector<OneDevice> handles;
    std::map<ConnId, Conn> conns;
    CmId listener;
    ConnId conn_ids = 0;
    std::size_t slot_size = 1;
    std::byte* source_begin = nullptr;
    std::deque<CmEvent> made_up;  // removals that the device itself told of
    std::function<void(DeviceIndex)> on_released;
    bool none_left = false;       // of the devices

    ~Impl() {
        while (!conns.empty()) {
            drop_queue(conns.begin()->second);
            conns.erase(conns.begin());
        }
        listener.reset();
        handles.clear();
        channel.reset();
        if (contexts != nullptr) rdma_free_devices(contexts);
    }

    [[nodiscard]] std::optional<DeviceIndex> index_of(const ibv_context* context) const {
        for (DeviceIndex i = 0; i < handles.size(); ++i) {
            if (handles[i].context == context) return i;
        }
        return std::nullopt;
    }

    Status open_device(ibv_context* context) {
        ibv_device_attr about{};
        ibv_port_attr port{};
        if (ibv_query_device(context, &about) != 0 || ibv_query_port(context, 1, &port) != 0) {
            return failed("asking the RDMA device " + std::string(ibv_get_device_name(context->device)));
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
            return failed("preparing the RDMA device " + device.name);
        }
        set_nonblocking(handle.completions->fd);
        set_nonblocking(context->async_fd);
        devices.push_back(std::move(device));
        handles.push_back(std::move(handle));
        return {};
    }

    /// Which device an address of this machine leads to is the connection manager's to say.
    void find_addresses() {
        ifaddrs* all = nullptr;
        if (::getifaddrs(&all) != 0) return;
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
            if (!index) continue;
            devices[*index].addresses.push_back(text_of(at->ifa_addr));
            if (!handles[*index].sentinel) handles[*index].sentinel = std::move(id);
        }
        ::freeifaddrs(all);
    }

    [[nodiscard]] Conn& at(ConnId conn) { return conns.at(conn); }
    [[nodiscard]] Conn* find(ConnId conn) {
        const auto found = conns.find(conn);
        return found == conns.end() ? nullptr : &found->second;
    }

    Conn& adopt(rdma_cm_id* id) {
        const ConnId number = ++conn_ids;
        Conn& conn = conns[number];
        conn.id = number;
        conn.cm.reset(id);
        id->context = reinterpret_cast<void*>(number);
        tune(id);
        return conn;
    }

    /// Failures are ignored: the system's values work too.
    void tune(rdma_cm_id* id) const {
        std::uint8_t ack = options.ack_timeout;
        (void)rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &ack, sizeof ack);
        std::uint8_t tos = options.tos;
        if (tos != 0) (void)rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos, sizeof tos);
    }

    static void drop_queue(Conn& conn) {
        if (conn.cm && conn.cm->qp != nullptr) rdma_destroy_qp(conn.cm.get());
        if (conn.cq && conn.events_unacked > 0) ibv_ack_cq_events(conn.cq.get(), std::exchange(conn.events_unacked, 0));
        conn.cq.reset();
        conn.buffers_mr.reset();
        conn.buffers.reset();
    }

    [[nodiscard]] rdma_conn_param parameters(const Conn& conn, ByteView data) const {
        rdma_conn_param param{};
        param.private_data = data.data();
        param.private_data_len = static_cast<std::uint8_t>(data.size());
        // iWARP may use a read of its own while connecting; on the others no read is ever allowed.
        const bool iwarp = devices[conn.device].layer == LinkLayer::iwarp;
        param.responder_resources = iwarp ? 1 : 0;
        param.initiator_depth = iwarp ? 1 : 0;
        param.flow_control = 1;
        param.retry_count = kTries;
        param.rnr_retry_count = kReceiverNotReadyTries;
        return param;
    }

    Status reg(Conn& conn, Role role) {
        OneDevice& handle = handles[conn.device];
        ibv_pd* pd = (role == Role::requester ? handle.landing_pd : handle.source_pd).get();
        conn.buffers = std::make_unique<MessageBuffers>(conn.sizes.receives + conn.sizes.sends);
        conn.buffers_mr.reset(ibv_reg_mr(pd, conn.buffers->memory_, conn.buffers->bytes(), IBV_ACCESS_LOCAL_WRITE));
        if (!conn.buffers_mr) return failed("pinning the message buffers of an RDMA connection");
        const auto entries = static_cast<int>(conn.sizes.receives + conn.sizes.sends + 1);
        conn.cq.reset(ibv_create_cq(handle.context, entries, reinterpret_cast<void*>(conn.id),
                                    handle.completions.get(), 0));
        if (!conn.cq) return failed("making an RDMA completion queue");
        ibv_qp_init_attr attr{};
        attr.send_cq = attr.recv_cq = conn.cq.get();
        attr.qp_type = IBV_QPT_RC;
        attr.cap.max_send_wr = conn.sizes.sends;
        attr.cap.max_recv_wr = conn.sizes.receives;
        attr.cap.max_send_sge = attr.cap.max_recv_sge = 1;
        attr.cap.max_inline_data = wire::kRdmaInlineMax;
        if (rdma_create_qp(conn.cm.get(), pd, &attr) != 0) {
            attr.cap.max_inline_data = 0;  // soft iWARP refuses more than it has instead of giving less
            if (rdma_create_qp(conn.cm.get(), pd, &attr) != 0) return failed("making an RDMA queue pair");
        }
        conn.inline_max = attr.cap.max_inline_data;
        if (ibv_req_notify_cq(conn.cq.get(), 0) != 0) return failed("arming an RDMA completion queue");
        return {};
    }

    CmEvent copy(const rdma_cm_event& from);

    void note_removal(DeviceIndex index) {
        handles[index].removed = true;
        devices[index].active = false;
        handles[index].sentinel.reset();
    }

    /// The kernel waits with the removal of a device until nobody has it open any more. librdmacm closes one
    /// that is gone from the system's list when nothing refers to it and the list is read again.
    void release_removed() {
        for (DeviceIndex i = 0; i < handles.size(); ++i) {
            OneDevice& handle = handles[i];
            if (!handle.removed || handle.context == nullptr) continue;
            const auto on_it = [&](const auto& entry) { return entry.second.device == i; };
            if (std::ranges::any_of(conns, on_it)) continue;
            if (on_released) on_released(i);
            handle.landing.clear();
            handle.source.clear();
            handle.completions.reset();
            handle.landing_pd.reset();
            handle.source_pd.reset();
            ibv_context* context = std::exchange(handle.context, nullptr);
            rdma_free_devices(contexts);
            int count = 0;
            contexts = rdma_get_devices(&count);
            if (contexts == nullptr || count == 0) {
                // It does not look through an empty list (sync_devices_list of librdmacm), so the last device is
                // closed here; librdmacm must find no reason any more to look at what it remembers of it.
                listener.reset();
                none_left = true;
                (void)ibv_close_device(context);
            }
            log::warn("rdma.device_removed", {{"device", devices[i].name}, {"chunks_go_by", "tcp"}});
        }
    }
    void establish(ConnId conn) {
        if (Conn* found = find(conn)) found->established = true;
    }
};

// --- opening -----------------------------------------------------------------------------------

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
        return failed("opening /dev/infiniband/rdma_cm (load the module rdma_ucm, and in a container pass "
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

// --- events ------------------------------------------------------------------------------------

CmEvent IbVerbs::Impl::copy(const rdma_cm_event& from) {
    CmEvent event;
    event.conn = reinterpret_cast<ConnId>(from.id->context);
    if (from.id->verbs != nullptr) event.device = index_of(from.id->verbs).value_or(0);
    const rdma_conn_param& param = from.param.conn;
    const auto keep_data = [&] {
        const auto* data = static_cast<const std::byte*>(param.private_data);
        if (data != nullptr) event.data.assign(data, data + param.private_data_len);
    };
    switch (from.event) {
        case RDMA_CM_EVENT_ADDR_RESOLVED: event.type = Type::address_resolved; break;
        case RDMA_CM_EVENT_ROUTE_RESOLVED: event.type = Type::route_resolved; break;
        case RDMA_CM_EVENT_CONNECT_REQUEST:
            event.type = Type::connect_request;
            keep_data();
            event.remote = text_of(rdma_get_peer_addr(from.id));
            break;
        case RDMA_CM_EVENT_ESTABLISHED:
            event.type = Type::established;
            keep_data();
            break;
        case RDMA_CM_EVENT_REJECTED:
            event.type = Type::rejected;
            event.why = reject_word(from.status);
            keep_data();
            break;
        case RDMA_CM_EVENT_DISCONNECTED:
            event.type = Type::disconnected;
            event.why = "the peer disconnected";
            break;
        case RDMA_CM_EVENT_ADDR_CHANGE:
            event.type = Type::disconnected;
            event.why = "an address of this machine has moved";
            break;
        case RDMA_CM_EVENT_DEVICE_REMOVAL: event.type = Type::device_removed; break;
        default:
            event.type = Type::failed;
            event.why = std::string(rdma_event_str(from.event)) + " (" +
                        (from.status < 0 ? std::strerror(-from.status) : std::to_string(from.status)) + ")";
    }
    return event;
}

std::optional<CmEvent> IbVerbs::next_cm_event() {
    Impl& my = *impl_;
    if (!my.made_up.empty()) {
        CmEvent event = std::move(my.made_up.front());
        my.made_up.pop_front();
        return event;
    }
    while (true) {
        rdma_cm_event* raw = nullptr;
        if (rdma_get_cm_event(my.channel.get(), &raw) != 0) {
            my.release_removed();
            return std::nullopt;
        }
        CmEvent event = my.copy(*raw);
        rdma_cm_id* id = raw->id;
        const auto kind = raw->event;
        rdma_ack_cm_event(raw);  // before anything that destroys an id: that waits for it
        if (kind == RDMA_CM_EVENT_TIMEWAIT_EXIT) continue;
        if (kind == RDMA_CM_EVENT_DEVICE_REMOVAL) {
            if (id == my.listener.get()) my.listener.reset();
            my.note_removal(event.device);
            return event;
        }
        if (kind == RDMA_CM_EVENT_CONNECT_REQUEST) {
            Conn& conn = my.adopt(id);
            conn.device = event.device;
            event.conn = conn.id;
        } else if (Conn* conn = my.find(event.conn)) {
            conn->device = event.device;
            if (event.type == Type::established) conn->established = true;
            // The way to an established peer was lost: not a failure to connect.
            if (event.type == Type::failed && conn->established) event.type = Type::disconnected;
        }
        return event;
    }
}

std::vector<ConnId> IbVerbs::completed(DeviceIndex device) {
    std::vector<ConnId> said;
    ibv_comp_channel* channel = impl_->handles[device].completions.get();
    if (channel == nullptr) return said;  // the device was removed
    ibv_cq* cq = nullptr;
    void* context = nullptr;
    while (ibv_get_cq_event(channel, &cq, &context) == 0) {
        const auto id = reinterpret_cast<ConnId>(context);
        Conn* conn = impl_->find(id);
        if (conn == nullptr) continue;
        if (++conn->events_unacked >= kAckAtOnce) ibv_ack_cq_events(cq, std::exchange(conn->events_unacked, 0));
        // Armed before it is polled to the end: what comes in between tells of itself.
        (void)ibv_req_notify_cq(cq, 0);
        said.push_back(id);
    }
    return said;
}

void IbVerbs::set_on_released(std::function<void(DeviceIndex)> on_released) {
    impl_->on_released = std::move(on_released);
}

void IbVerbs::read_async_events(DeviceIndex device) {
    ibv_context* context = impl_->handles[device].context;
    ibv_async_event event{};
    while (context != nullptr && ibv_get_async_event(context, &event) == 0) {
        const ibv_event_type type = event.event_type;
        ibv_ack_async_event(&event);
        Device& about = impl_->devices[device];
        if (type == IBV_EVENT_PORT_ACTIVE || type == IBV_EVENT_PORT_ERR) {
            about.active = type == IBV_EVENT_PORT_ACTIVE;
            log::info("rdma.port", {{"device", about.name}, {"active", about.active}});
        } else if (type == IBV_EVENT_DEVICE_FATAL) {
            about.active = false;
            CmEvent removed;
            removed.type = Type::device_removed;
            removed.device = device;
            impl_->made_up.push_back(removed);
            impl_->note_removal(device);
            return;
        } else {
            log::debug("rdma.device_event", {{"device", about.name}, {"event", ibv_event_type_str(type)}});
        }
    }
}

// --- connections -------------------------------------------------------------------------------

Result<std::uint16_t> IbVerbs::listen(const Endpoint& at) {
    FR_TRY_ASSIGN(Address address, address_of(at));
    rdma_cm_id* raw = nullptr;
    if (rdma_create_id(impl_->channel.get(), &raw, nullptr, RDMA_PS_TCP) != 0) return failed("making an RDMA listener");
    CmId id(raw);
    int yes = 1;
    (void)rdma_set_option(raw, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, &yes, sizeof yes);
    if (rdma_bind_addr(raw, address.get()) != 0 || rdma_listen(raw, kBacklog) != 0) {
        return failed("listening for RDMA on " + at.str() + " (--rdma-listen-addr, --rdma-listen-port)");
    }
    impl_->listener = std::move(id);
    return ntohs(rdma_get_src_port(raw));
}

Result<ConnId> IbVerbs::begin_connect(const Endpoint& to) {
    if (impl_->none_left) return fail(Errc::network, "no RDMA device is left on this machine");
    FR_TRY_ASSIGN(Address address, address_of(to));
    rdma_cm_id* raw = nullptr;
    if (rdma_create_id(impl_->channel.get(), &raw, nullptr, RDMA_PS_TCP) != 0) {
        return failed("making an RDMA connection");
    }
    Conn& conn = impl_->adopt(raw);
    if (rdma_resolve_addr(raw, nullptr, address.get(), kResolveMs) != 0) {
        const auto error = failed("resolving " + to.str() + " for RDMA");
        impl_->conns.erase(conn.id);
        return error;
    }
    return conn.id;
}

Status IbVerbs::resolve_route(ConnId conn) {
    if (rdma_resolve_route(impl_->at(conn).cm.get(), kResolveMs) != 0) return failed("finding an RDMA route");
    return {};
}

Status IbVerbs::make_queue(ConnId id, Role role, QueueSizes sizes) {
    Conn& conn = impl_->at(id);
    conn.sizes = sizes;
    if (auto made = impl_->reg(conn, role); !made) {
        Impl::drop_queue(conn);
        return made;
    }
    for (std::uint32_t i = 0; i < sizes.receives; ++i) {
        if (auto posted = post_receive(id, i); !posted) {
            Impl::drop_queue(conn);
            return posted;
        }
    }
    return {};
}

Status IbVerbs::connect(ConnId id, ByteView private_data) {
    Conn& conn = impl_->at(id);
    rdma_conn_param param = impl_->parameters(conn, private_data);
    if (rdma_connect(conn.cm.get(), &param) != 0) return failed("connecting by RDMA");
    return {};
}

Status IbVerbs::accept(ConnId id, ByteView private_data) {
    Conn& conn = impl_->at(id);
    rdma_conn_param param = impl_->parameters(conn, private_data);
    if (rdma_accept(conn.cm.get(), &param) != 0) return failed("accepting an RDMA connection");
    return {};
}

void IbVerbs::reject(ConnId id, ByteView private_data) {
    if (Conn* conn = impl_->find(id)) {
        (void)rdma_reject(conn->cm.get(), private_data.data(), static_cast<std::uint8_t>(private_data.size()));
    }
}

// --- work --------------------------------------------------------------------------------------

std::size_t IbVerbs::poll(ConnId id, std::span<Completion> out) {
    Conn* conn = impl_->find(id);
    if (conn == nullptr || !conn->cq) return 0;
    std::array<ibv_wc, 32> done;
    const int count = ibv_poll_cq(conn->cq.get(), static_cast<int>(std::min(done.size(), out.size())), done.data());
    if (count <= 0) return 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
        const ibv_wc& wc = done[i];
        out[i] = {wc.wr_id, wc.status == IBV_WC_SUCCESS, wc.status == IBV_WC_WR_FLUSH_ERR,
                  wc.status == IBV_WC_SUCCESS ? wc.byte_len : 0, word_of(wc.status)};
    }
    return static_cast<std::size_t>(count);
}

ByteView IbVerbs::received(ConnId id, std::uint32_t index, std::uint32_t bytes) const {
    const Conn& conn = impl_->at(id);
    return conn.buffers->at(index).first(std::min<std::size_t>(bytes, wire::kRdmaMessageMax));
}

Status IbVerbs::post_receive(ConnId id, std::uint32_t index) {
    Conn& conn = impl_->at(id);
    const auto place = conn.buffers->at(index);
    ibv_sge sge{reinterpret_cast<std::uint64_t>(place.data()), static_cast<std::uint32_t>(place.size()),
                conn.buffers_mr->lkey};
    ibv_recv_wr wr{};
    wr.wr_id = kReceive | index;
    wr.sg_list = &sge;
    wr.num_sge = 1;
    ibv_recv_wr* bad = nullptr;
    if ((errno = ibv_post_recv(conn.cm->qp, &wr, &bad)) != 0) return failed("posting an RDMA receive");
    return {};
}

namespace {

/// The send of a message, behind whatever stands before it in the list.
void fill_message(Conn& conn, ByteView message, std::uint64_t work, ibv_sge& sge, ibv_send_wr& wr) {
    const auto place = conn.buffers->at(conn.sizes.receives + conn.sent++ % conn.sizes.sends);
    std::memcpy(place.data(), message.data(), message.size());
    sge = {reinterpret_cast<std::uint64_t>(place.data()), static_cast<std::uint32_t>(message.size()),
           conn.buffers_mr->lkey};
    wr.wr_id = work;
    wr.sg_list = &sge;
    wr.num_sge = 1;
    wr.opcode = IBV_WR_SEND;
    wr.send_flags = IBV_SEND_SIGNALED;
    if (message.size() <= conn.inline_max) wr.send_flags |= IBV_SEND_INLINE;
}

Status post_list(Conn& conn, ibv_send_wr& first) {
    ibv_send_wr* bad = nullptr;
    if ((errno = ibv_post_send(conn.cm->qp, &first, &bad)) != 0) return failed("posting an RDMA send");
    return {};
}

}  // namespace

Status IbVerbs::post_message(ConnId id, ByteView message, std::uint64_t work) {
    Conn& conn = impl_->at(id);
    ibv_sge sge{};
    ibv_send_wr wr{};
    fill_message(conn, message, work, sge, wr);
    return post_list(conn, wr);
}

Status IbVerbs::post_chunk(ConnId id, const ChunkWrite& write, ByteView done, std::uint64_t work) {
    Conn& conn = impl_->at(id);
    std::array<ibv_send_wr, kSegmentsMax + 1> wrs{};
    std::array<ibv_sge, kSegmentsMax + 1> sges{};
    const std::byte* source = impl_->source_begin + write.source_slot * impl_->slot_size;
    std::size_t count = 0;
    for (std::uint64_t at = 0; at < write.bytes; at += write.segment, ++count) {
        FR_ASSERT(count < kSegmentsMax);
        sges[count] = {reinterpret_cast<std::uint64_t>(source + at),
                       static_cast<std::uint32_t>(std::min(write.segment, write.bytes - at)),
                       impl_->handles[conn.device].source.at(source).lkey};
        ibv_send_wr& wr = wrs[count];
        wr.wr_id = work | kSegment;
        wr.sg_list = &sges[count];
        wr.num_sge = 1;
        wr.opcode = IBV_WR_RDMA_WRITE;
        wr.send_flags = write.signal_writes ? IBV_SEND_SIGNALED : 0;
        wr.wr.rdma.remote_addr = write.address + at;
        wr.wr.rdma.rkey = write.key;
        wr.next = &wrs[count + 1];
    }
    fill_message(conn, done, work, sges[count], wrs[count]);
    return post_list(conn, wrs[0]);
}

// --- the end -----------------------------------------------------------------------------------

void IbVerbs::to_error(ConnId id) {
    Conn* conn = impl_->find(id);
    if (conn == nullptr || conn->cm->qp == nullptr) return;
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_ERR;
    (void)ibv_modify_qp(conn->cm->qp, &attr, IBV_QP_STATE);
}

void IbVerbs::disconnect(ConnId id) {
    Conn* conn = impl_->find(id);
    if (conn != nullptr && conn->cm->qp != nullptr) (void)rdma_disconnect(conn->cm.get());
}

void IbVerbs::destroy_queue(ConnId id) {
    if (Conn* conn = impl_->find(id)) Impl::drop_queue(*conn);
}

void IbVerbs::close(ConnId id) {
    impl_->conns.erase(id);
    impl_->release_removed();
}

}  // namespace fastreg::transport::rdma
