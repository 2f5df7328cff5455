// The calls of librdmacm and libibverbs that FastReg makes, and no more: so that links, credits, slots and
// teardown run in tests over a fake that delays, loses and delivers late (verbs_fake.h). The real one is
// ibverbs.h. One thread, the rdma thread, calls all of it; nothing blocks but register_memory(), and connect() over
// soft iWARP, for half a second.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/endpoint.h"
#include "base/result.h"

namespace fastreg::transport::rdma {

/// One connection (rdma_cm_id and its queue pair) for its whole life; never used twice. 0: none.
using ConnId = std::uint64_t;
/// Position in devices(); one that was removed keeps its place.
using DeviceIndex = std::size_t;
/// Of a connection whose address is not resolved yet.
constexpr DeviceIndex kNoDevice = SIZE_MAX;

enum class LinkLayer : std::uint8_t { infiniband, roce, iwarp };
[[nodiscard]] std::string_view name_of(LinkLayer layer);

struct Device {
    std::string name;  // "mlx5_0", "rxe0"
    LinkLayer layer = LinkLayer::roce;
    bool active = false;           // port 1 is ACTIVE
    std::uint32_t mtu = 0;         // bytes of a packet's payload
    std::uint64_t message_max = 0; // bytes of one RDMA Write
    std::vector<std::string> addresses;  // numeric, of this machine, that lead to the device
    bool operator==(const Device&) const = default;
};

/// Where peers connect to; empty: nowhere. `advertise`, or else the one address that is listened on, as long as the
/// device it leads to is active, or, where it never led to one (it is translated on the way), any. With neither
/// (`listening` is 0.0.0.0 or ::) the first address that is listened on, of the first active device that has one.
/// `leads_to`: the device that had the address when it was looked for; kept by the caller from call to call, since a
/// device that is down or gone may lose its addresses.
[[nodiscard]] std::string host_to_advertise(const std::vector<Device>& devices, const std::string& advertise,
                                            const std::string& listening, std::optional<DeviceIndex>& leads_to);

/// Whose memory a connection's queue pair can reach (two protection domains): a requester's is where peers
/// write, a responder's is read from only. So a peer that connects here reaches no writable slot.
enum class Role : std::uint8_t { requester, responder };

struct CmEvent {
    enum class Type : std::uint8_t {
        address_resolved,
        route_resolved,
        connect_request,  // `conn` is new; answer with accept or reject
        established,
        rejected,         // `data` is the reject's private data, if the peer's program sent one
        failed,           // address, route or connect: `why`
        disconnected,     // by the peer, or the way to it is gone
        device_removed,   // everything on `device` has to go
    };
    ConnId conn = 0;
    Type type = Type::failed;
    DeviceIndex device = 0;
    Bytes data;  // private data, padding included
    std::string why;
    std::string remote;  // of a connect_request: the numeric address it comes from
};

/// What a work request ended as. Of a failed one only `work` and `why` mean anything.
struct Completion {
    std::uint64_t work = 0;
    bool ok = false;
    bool flushed = false;  // failed because the queue pair was torn down or broken before
    std::uint32_t bytes = 0;  // of a received message
    std::string_view why;
};

/// Sizes of one queue pair, agreed with the peer before it is made.
struct QueueSizes {
    std::uint32_t receives = 24;  // messages of kRdmaMessageMax
    std::uint32_t sends = 64;     // work requests
};

/// A chunk as RDMA Writes of at most `segment` bytes, and behind them, in order, one message.
struct ChunkWrite {
    std::size_t source_slot = 0;
    std::uint64_t bytes = 0;
    std::uint64_t address = 0;  // the peer's slot
    std::uint32_t key = 0;
    std::uint64_t segment = 1U << 20U;
    bool signal_writes = false;  // iWARP: an unsignalled write may still read its source when it "completed"
};

class Verbs {
  public:
    virtual ~Verbs() = default;

    [[nodiscard]] virtual const std::vector<Device>& devices() const = 0;
    /// Pins and registers both pools with every device; once, before anything else. Fails, naming the
    /// limit, where RLIMIT_MEMLOCK is too low.
    virtual Status register_memory(std::span<std::byte> landing, std::span<std::byte> source,
                                   std::size_t slot_size) = 0;
    /// What a peer needs to write to `place`, which is landing memory, through `device`.
    [[nodiscard]] virtual std::uint32_t landing_key(DeviceIndex device, const std::byte* place) const = 0;

    // Readiness: poll these descriptors and call the functions below. -1 where there is none (the fake).
    [[nodiscard]] virtual int cm_descriptor() const = 0;
    [[nodiscard]] virtual int completion_descriptor(DeviceIndex device) const = 0;
    [[nodiscard]] virtual int async_descriptor(DeviceIndex device) const = 0;
    /// The next event, copied and acknowledged; nothing when there is none.
    [[nodiscard]] virtual std::optional<CmEvent> next_cm_event() = 0;
    /// Connections whose completion queue said something since; each is armed again already, so that
    /// polling it to the end loses nothing.
    [[nodiscard]] virtual std::vector<ConnId> completed(DeviceIndex device) = 0;
    /// Called before what is left of a removed device is let go, its descriptors included.
    virtual void set_on_released(std::function<void(DeviceIndex)> on_released) = 0;
    /// Reads and acknowledges what the device reports of itself; its end comes as a CmEvent.
    virtual void read_async_events(DeviceIndex device) = 0;

    // Connections.
    /// The port that is listened on.
    virtual Result<std::uint16_t> listen(const Endpoint& at) = 0;
    /// Resolves a numeric address: address_resolved or failed follows.
    virtual Result<ConnId> begin_connect(const Endpoint& to) = 0;
    virtual Status resolve_route(ConnId conn) = 0;
    /// Queue pair, completion queue and message buffers; all receives are posted.
    virtual Status make_queue(ConnId conn, Role role, QueueSizes sizes) = 0;
    virtual Status connect(ConnId conn, ByteView private_data) = 0;
    virtual Status accept(ConnId conn, ByteView private_data) = 0;
    /// The connection is to be closed after it.
    virtual void reject(ConnId conn, ByteView private_data) = 0;

    // Work. `work` comes back in the completion; receives complete with kReceive | index.
    static constexpr std::uint64_t kReceive = 1ULL << 63U;
    /// Up to `out.size()` completions; fewer: the queue is empty.
    [[nodiscard]] virtual std::size_t poll(ConnId conn, std::span<Completion> out) = 0;
    /// The bytes of a receive that completed, valid until it is posted again.
    [[nodiscard]] virtual ByteView received(ConnId conn, std::uint32_t index, std::uint32_t bytes) const = 0;
    virtual Status post_receive(ConnId conn, std::uint32_t index) = 0;
    /// Takes one work request; always signalled. `message` is copied.
    virtual Status post_message(ConnId conn, ByteView message, std::uint64_t work) = 0;
    /// Takes one work request for each segment and one for `done`, which is signalled with `work`; the
    /// writes too (as `work` | kSegment) with signal_writes.
    static constexpr std::uint64_t kSegment = 1ULL << 62U;
    virtual Status post_chunk(ConnId conn, const ChunkWrite& write, ByteView done, std::uint64_t work) = 0;

    // The end of a connection, in this order; each is harmless where there is nothing to do.
    /// Everything posted completes as flushed, and what peers send arrives nowhere.
    virtual void to_error(ConnId conn) = 0;
    virtual void disconnect(ConnId conn) = 0;
    /// Once it returned true no peer can write through this connection any more: the proof that frees slots. False: the
    /// device did not let go of the queue pair, or (iWARP) the kernel is still connecting it; try again.
    [[nodiscard]] virtual bool destroy_queue(ConnId conn) = 0;
    virtual void close(ConnId conn) = 0;
};

}  // namespace fastreg::transport::rdma
