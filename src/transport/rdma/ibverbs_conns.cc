// Connections, from their address to the end of their queue pair.
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <optional>

#include "base/clock.h"
#include "base/log.h"
#include "transport/rdma/ibverbs_impl.h"

namespace fastreg::transport::rdma {
namespace {

constexpr int kResolveMs = 2000;
constexpr int kBacklog = 1024;
/// Receives are posted before a peer may send: not-ready is a defect, and must not hang a connection.
constexpr std::uint8_t kReceiverNotReadyTries = 3;
constexpr std::uint8_t kTries = 7;
/// Of a TCP connect on the fabric.
constexpr long kIwarpConnectMs = 500;
constexpr int kAlarmSignal = SIGUSR2;  // used for nothing else

/// Soft iWARP makes its TCP connection inside the call (siw_connect of Linux 6.1), and where nobody answers that holds
/// the thread until TCP gives up, for two minutes. A signal ends the wait. Other drivers return at once.
class Alarm {
  public:
    explicit Alarm(long after_ms) {
        struct sigaction quiet {};
        quiet.sa_handler = [](int) {};  // not ignored, and not restarting the call
        (void)::sigaction(kAlarmSignal, &quiet, nullptr);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, kAlarmSignal);
        (void)::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
        sigevent how{};
        how.sigev_notify = SIGEV_THREAD_ID;
        how.sigev_signo = kAlarmSignal;
        how._sigev_un._tid = ::gettid();
        armed_ = ::timer_create(CLOCK_MONOTONIC, &how, &timer_) == 0;
        // Again and again: one that comes just before the call would be lost.
        const timespec span{after_ms / 1000, after_ms % 1000 * 1'000'000};
        const itimerspec when{span, span};
        if (armed_) (void)::timer_settime(timer_, 0, &when, nullptr);
    }
    ~Alarm() {
        if (armed_) (void)::timer_delete(timer_);
    }
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;

  private:
    timer_t timer_{};
    bool armed_ = false;
};

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

}  // namespace

Conn& IbVerbs::Impl::adopt(rdma_cm_id* id) {
    const ConnId number = ++conn_ids;
    Conn& conn = conns[number];
    conn.id = number;
    conn.cm.reset(id);
    id->context = reinterpret_cast<void*>(number);
    tune(id);
    return conn;
}

void IbVerbs::Impl::tune(rdma_cm_id* id) const {
    std::uint8_t ack = options.ack_timeout;
    (void)rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &ack, sizeof ack);
    std::uint8_t tos = options.tos;
    if (tos != 0) (void)rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos, sizeof tos);
}

bool IbVerbs::Impl::drop_queue(Conn& conn) {
    if (conn.cm && conn.cm->qp != nullptr) {
        // Not rdma_destroy_qp(), which hides how it ended. A device that was removed took its queue pairs with it.
        const int failed = ibv_destroy_qp(conn.cm->qp);
        if (failed != 0 && failed != EIO && failed != ENODEV) {
            if (const auto more = queue_kept.pass(monotonic_now())) {  // it is tried again and again
                log::warn("rdma.queue_kept",
                          {{"device", devices[conn.device].name}, {"why", std::strerror(failed)}, {"more", *more}});
            }
            return false;
        }
        conn.cm->qp = nullptr;
    }
    if (conn.cq && conn.events_unacked > 0) ibv_ack_cq_events(conn.cq.get(), std::exchange(conn.events_unacked, 0));
    conn.cq.reset();
    conn.buffers_mr.reset();
    conn.buffers.reset();
    return true;
}

rdma_conn_param IbVerbs::Impl::parameters(const Conn& conn, ByteView data) const {
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

Status IbVerbs::Impl::make_queue(Conn& conn, Role role) {
    OneDevice& handle = handles[conn.device];
    ibv_pd* pd = (role == Role::requester ? handle.landing_pd : handle.source_pd).get();
    conn.buffers = std::make_unique<MessageBuffers>(conn.sizes.receives + conn.sizes.sends);
    conn.buffers_mr.reset(ibv_reg_mr(pd, conn.buffers->memory_, conn.buffers->bytes(), IBV_ACCESS_LOCAL_WRITE));
    if (!conn.buffers_mr) return verbs_failed("pinning the message buffers of an RDMA connection");
    const auto entries = static_cast<int>(conn.sizes.receives + conn.sizes.sends + 1);
    conn.cq.reset(ibv_create_cq(handle.context, entries, reinterpret_cast<void*>(conn.id),
                                handle.completions.get(), 0));
    if (!conn.cq) return verbs_failed("making an RDMA completion queue");
    ibv_qp_init_attr attr{};
    attr.send_cq = attr.recv_cq = conn.cq.get();
    attr.qp_type = IBV_QPT_RC;
    attr.cap.max_send_wr = conn.sizes.sends;
    attr.cap.max_recv_wr = conn.sizes.receives;
    attr.cap.max_send_sge = attr.cap.max_recv_sge = 1;
    attr.cap.max_inline_data = wire::kRdmaInlineMax;
    if (rdma_create_qp(conn.cm.get(), pd, &attr) != 0) {
        attr.cap.max_inline_data = 0;  // soft iWARP refuses more than it has instead of giving less
        if (rdma_create_qp(conn.cm.get(), pd, &attr) != 0) return verbs_failed("making an RDMA queue pair");
    }
    conn.inline_max = attr.cap.max_inline_data;
    if (ibv_req_notify_cq(conn.cq.get(), 0) != 0) return verbs_failed("arming an RDMA completion queue");
    return {};
}

Result<std::uint16_t> IbVerbs::listen(const Endpoint& at) {
    FR_TRY_ASSIGN(Address address, address_of(at));
    rdma_cm_id* raw = nullptr;
    if (rdma_create_id(impl_->channel.get(), &raw, nullptr, RDMA_PS_TCP) != 0) {
        return verbs_failed("making an RDMA listener");
    }
    CmId id(raw);
    int yes = 1;
    (void)rdma_set_option(raw, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, &yes, sizeof yes);
    if (rdma_bind_addr(raw, address.get()) != 0 || rdma_listen(raw, kBacklog) != 0) {
        return verbs_failed("listening for RDMA on " + at.str() + " (--rdma-listen-addr, --rdma-listen-port)");
    }
    impl_->listener = std::move(id);
    return ntohs(rdma_get_src_port(raw));
}

Result<ConnId> IbVerbs::begin_connect(const Endpoint& to) {
    if (impl_->none_left) return fail(Errc::network, "no RDMA device is left on this machine");
    FR_TRY_ASSIGN(Address address, address_of(to));
    rdma_cm_id* raw = nullptr;
    if (rdma_create_id(impl_->channel.get(), &raw, nullptr, RDMA_PS_TCP) != 0) {
        return verbs_failed("making an RDMA connection");
    }
    Conn& conn = impl_->adopt(raw);
    if (rdma_resolve_addr(raw, nullptr, address.get(), kResolveMs) != 0) {
        const auto error = verbs_failed("resolving " + to.str() + " for RDMA");
        impl_->conns.erase(conn.id);
        return error;
    }
    return conn.id;
}

Status IbVerbs::resolve_route(ConnId conn) {
    if (rdma_resolve_route(impl_->at(conn).cm.get(), kResolveMs) != 0) return verbs_failed("finding an RDMA route");
    return {};
}

Status IbVerbs::make_queue(ConnId id, Role role, QueueSizes sizes) {
    Conn& conn = impl_->at(id);
    conn.sizes = sizes;
    if (auto made = impl_->make_queue(conn, role); !made) {
        (void)impl_->drop_queue(conn);
        return made;
    }
    for (std::uint32_t i = 0; i < sizes.receives; ++i) {
        if (auto posted = post_receive(id, i); !posted) {
            (void)impl_->drop_queue(conn);
            return posted;
        }
    }
    return {};
}

Status IbVerbs::connect(ConnId id, ByteView private_data) {
    Conn& conn = impl_->at(id);
    rdma_conn_param param = impl_->parameters(conn, private_data);
    std::optional<Alarm> alarm;
    const bool iwarp = impl_->devices[conn.device].layer == LinkLayer::iwarp;
    if (iwarp) alarm.emplace(kIwarpConnectMs);
    if (rdma_connect(conn.cm.get(), &param) == 0) {
        conn.connecting = iwarp;
        return {};
    }
    if (errno == EINTR) {
        return fail(Errc::timeout, "no answer within " + std::to_string(kIwarpConnectMs) + " ms");
    }
    return verbs_failed("connecting by RDMA");
}

Status IbVerbs::accept(ConnId id, ByteView private_data) {
    Conn& conn = impl_->at(id);
    rdma_conn_param param = impl_->parameters(conn, private_data);
    if (rdma_accept(conn.cm.get(), &param) != 0) return verbs_failed("accepting an RDMA connection");
    return {};
}

void IbVerbs::reject(ConnId id, ByteView private_data) {
    if (Conn* conn = impl_->find(id)) {
        (void)rdma_reject(conn->cm.get(), private_data.data(), static_cast<std::uint8_t>(private_data.size()));
    }
}

// The end, in this order.

void IbVerbs::to_error(ConnId id) {
    Conn* conn = impl_->find(id);
    if (conn == nullptr || conn->cm->qp == nullptr) return;
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_ERR;
    (void)ibv_modify_qp(conn->cm->qp, &attr, IBV_QP_STATE);
}

void IbVerbs::disconnect(ConnId id) {
    Conn* conn = impl_->find(id);
    if (conn == nullptr || conn->cm->qp == nullptr) return;
    conn->unwanted = conn->connecting;
    if (!conn->connecting) (void)rdma_disconnect(conn->cm.get());
}

bool IbVerbs::destroy_queue(ConnId id) {
    Conn* conn = impl_->find(id);
    return conn == nullptr || (!conn->connecting && impl_->drop_queue(*conn));
}

void IbVerbs::close(ConnId id) {
    impl_->conns.erase(id);
    impl_->release_removed();
}

}  // namespace fastreg::transport::rdma
