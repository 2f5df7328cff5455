// RDMA between nodes of one process, for tests: reliable connections keep their order, but a test may hold
// what is on the wire and let it land late, keep completions back, lose the other end, or send what no
// program of ours would. One thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "transport/rdma/verbs.h"

namespace fastreg::transport::rdma {

class FakeVerbs;

/// The wire. Outlives its FakeVerbs.
class FakeFabric {
  public:
    /// Moves everything that is neither held nor lost, until nothing moves any more. True: something did.
    bool run();

    /// While held, what `node` posts leaves its queue (and so is on the wire) but does not arrive.
    void hold(const FakeVerbs* node, bool held);
    /// While kept, completions of what `node` sent are not shown to it.
    void keep_completions(const FakeVerbs* node, bool kept);
    /// No connect request, answer or disconnect reaches `node`.
    void set_black_hole(const FakeVerbs* node, bool lost);
    /// What becomes of a message that arrives: no reliable connection loses or doubles one, but a device that is
    /// broken may, and a peer can play it.
    enum class Fate : std::uint8_t { once, lost, twice };
    std::function<Fate(const FakeVerbs* from, ByteView message)> fate;

    /// Writes that arrived, and those that found their queue pair destroyed.
    [[nodiscard]] std::size_t landed() const { return landed_; }
    [[nodiscard]] std::size_t too_late() const { return too_late_; }
    [[nodiscard]] std::size_t on_wire() const;

  private:
    friend class FakeVerbs;
    struct Packet {
        bool write = false;
        Bytes message;              // of a send
        std::size_t source_slot = 0;
        std::size_t source_offset = 0;
        std::uint64_t bytes = 0;
        std::uint64_t address = 0;
        std::uint32_t key = 0;
        std::uint64_t work = 0;
        bool signalled = false;
    };
    std::map<std::string, FakeVerbs*> listeners_;
    std::set<FakeVerbs*> nodes_;
    std::set<const FakeVerbs*> held_;
    std::set<const FakeVerbs*> kept_;
    std::set<const FakeVerbs*> black_holes_;
    std::size_t landed_ = 0;
    std::size_t too_late_ = 0;
    ConnId conn_ids_ = 0;
};

class FakeVerbs final : public Verbs {
  public:
    explicit FakeVerbs(FakeFabric& fabric, LinkLayer layer = LinkLayer::roce);
    /// As when its process dies: the other ends see their connections end.
    ~FakeVerbs() override;
    FakeVerbs(const FakeVerbs&) = delete;
    FakeVerbs& operator=(const FakeVerbs&) = delete;

    // What tests look at and do.
    /// Calls of a connection's end, in order: "error", "disconnect", "destroy", "close".
    [[nodiscard]] const std::vector<std::pair<ConnId, std::string>>& ends() const { return ends_; }
    [[nodiscard]] std::size_t open_connections() const { return conns_.size(); }
    /// Says `message` on the connection as if the engine had.
    void inject(ConnId conn, ByteView message);
    /// The device is gone: its removal is told, and nothing works on it any more.
    void remove_device();
    /// The next register_memory() fails as with a low RLIMIT_MEMLOCK.
    void deny_memory() { memory_denied_ = true; }
    /// Queue pairs cannot be destroyed meanwhile.
    void keep_queues(bool on) { queues_kept_ = on; }
    [[nodiscard]] std::vector<ConnId> connections() const;

    [[nodiscard]] const std::vector<Device>& devices() const override { return devices_; }
    Status register_memory(std::span<std::byte> landing, std::span<std::byte> source, std::size_t slot_size) override;
    [[nodiscard]] std::uint32_t landing_key(DeviceIndex, const std::byte*) const override { return key_; }
    [[nodiscard]] int cm_descriptor() const override { return -1; }
    [[nodiscard]] int completion_descriptor(DeviceIndex) const override { return -1; }
    [[nodiscard]] int async_descriptor(DeviceIndex) const override { return -1; }
    [[nodiscard]] std::optional<CmEvent> next_cm_event() override;
    [[nodiscard]] std::vector<ConnId> completed(DeviceIndex device) override;
    void set_on_released(std::function<void(DeviceIndex)>) override {}
    void read_async_events(DeviceIndex) override {}
    Result<std::uint16_t> listen(const Endpoint& at) override;
    Result<ConnId> begin_connect(const Endpoint& to) override;
    Status resolve_route(ConnId conn) override;
    Status make_queue(ConnId conn, Role role, QueueSizes sizes) override;
    Status connect(ConnId conn, ByteView private_data) override;
    Status accept(ConnId conn, ByteView private_data) override;
    void reject(ConnId conn, ByteView private_data) override;
    [[nodiscard]] std::size_t poll(ConnId conn, std::span<Completion> out) override;
    [[nodiscard]] ByteView received(ConnId conn, std::uint32_t index, std::uint32_t bytes) const override;
    Status post_receive(ConnId conn, std::uint32_t index) override;
    Status post_message(ConnId conn, ByteView message, std::uint64_t work) override;
    Status post_chunk(ConnId conn, const ChunkWrite& write, ByteView done, std::uint64_t work) override;
    void to_error(ConnId conn) override;
    void disconnect(ConnId conn) override;
    [[nodiscard]] bool destroy_queue(ConnId conn) override;
    void close(ConnId conn) override;

  private:
    friend class FakeFabric;
    using Packet = FakeFabric::Packet;
    struct Conn {
        FakeVerbs* peer = nullptr;
        ConnId peer_conn = 0;
        Endpoint to;
        bool has_queue = false;
        Role role = Role::requester;
        bool error = false;
        bool established = false;
        bool closed = false;  // only what is on the wire keeps it
        std::uint32_t sends_left = 0;
        std::deque<Packet> wire;               // in order, to the peer
        std::deque<std::uint32_t> receives;    // posted
        std::vector<Bytes> buffers;
        std::deque<Completion> completions;
        std::size_t unsignalled = 0;
    };
    [[nodiscard]] Conn* find(ConnId conn);
    [[nodiscard]] Conn* peer_of(Conn& conn);
    void tell(CmEvent event);
    void complete(ConnId id, Conn& conn, const Packet& packet, bool ok, bool flushed, std::string_view why);
    bool deliver(ConnId id);
    void break_conn(ConnId id, Conn& conn, std::string_view why);

    FakeFabric& fabric_;
    std::vector<Device> devices_;
    std::span<std::byte> landing_;
    std::span<std::byte> source_;
    std::size_t slot_size_ = 0;
    std::uint32_t key_;
    bool memory_denied_ = false;
    bool queues_kept_ = false;
    bool removed_ = false;
    std::string listening_;
    std::map<ConnId, Conn> conns_;
    std::deque<CmEvent> events_;
    std::set<ConnId> said_;
    std::vector<std::pair<ConnId, std::string>> ends_;
};

}  // namespace fastreg::transport::rdma
