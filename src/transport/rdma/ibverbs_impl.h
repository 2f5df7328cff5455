// What the files of the real verbs share: an owner for every handle, one device, one connection. This header
// and the ibverbs*.cc are the only files that say `ibv_` or `rdma_`.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
#include <sys/socket.h>

#include <cerrno>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/rare_line.h"
#include "transport/rdma/ibverbs.h"
#include "wire/rdma.h"

namespace fastreg::transport::rdma {

/// Of errno.
[[nodiscard]] inline tl::unexpected<Error> verbs_failed(std::string doing) {
    return fail(Errc::network, std::move(doing), errno);
}
void set_nonblocking(int fd);
/// The numeric text of an address.
[[nodiscard]] std::string address_text(const sockaddr* address);

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

/// Memory registered with one device, cut into regions of whole slots.
class Regions {
  public:
    Status add(ibv_pd* pd, std::span<std::byte> memory, std::size_t slot_size, int access);
    [[nodiscard]] const ibv_mr& at(const std::byte* place) const {
        return *regions_.at(static_cast<std::size_t>(place - begin_) / each_);
    }
    void clear() { regions_.clear(); }

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
    DeviceIndex device = kNoDevice;
    Cq cq;
    unsigned events_unacked = 0;
    QueueSizes sizes;
    std::unique_ptr<MessageBuffers> buffers;  // receives, then sends
    Mr buffers_mr;
    std::uint32_t inline_max = 0;
    std::uint64_t sent = 0;
    bool established = false;
    /// The kernel's iWARP connection manager is at it: a call that ends the connection would hold the thread until the
    /// peer answers or the kernel gives up (iw_cm_disconnect and destroy_cm_id of Linux 6.1 wait; 8 s were seen).
    bool connecting = false;
    bool unwanted = false;  // to be disconnected once it is not
};

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
    RareLine new_device;
    RareLine queue_kept;

    ~Impl();

    [[nodiscard]] std::optional<DeviceIndex> index_of(const ibv_context* context) const {
        for (DeviceIndex i = 0; i < handles.size(); ++i) {
            if (handles[i].context == context) return i;
        }
        return std::nullopt;
    }
    [[nodiscard]] Conn& at(ConnId conn) { return conns.at(conn); }
    [[nodiscard]] Conn* find(ConnId conn) {
        const auto found = conns.find(conn);
        return found == conns.end() ? nullptr : &found->second;
    }

    // ibverbs.cc
    Status open_device(ibv_context* context);
    /// Which device an address of this machine leads to is the connection manager's to say.
    void find_addresses();

    // ibverbs_conns.cc
    Conn& adopt(rdma_cm_id* id);
    /// Failures are ignored: the system's values work too.
    void tune(rdma_cm_id* id) const;
    /// False: the device did not let go of it.
    [[nodiscard]] bool drop_queue(Conn& conn);
    [[nodiscard]] rdma_conn_param parameters(const Conn& conn, ByteView data) const;
    Status make_queue(Conn& conn, Role role);

    // ibverbs_events.cc
    [[nodiscard]] CmEvent copy(const rdma_cm_event& from) const;
    void note_removal(DeviceIndex index);
    /// The kernel waits with the removal of a device until nobody has it open any more. librdmacm closes one
    /// that is gone from the system's list when nothing refers to it and the list is read again.
    void release_removed();
};

}  // namespace fastreg::transport::rdma
