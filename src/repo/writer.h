// Writes of this node: stamped once, sent to all owners, done when a quorum has them durable.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "repo/mesh.h"
#include "repo/replica.h"

namespace fastreg::repo {

class Writer {
  public:
    Writer(Mesh& mesh, Replica& replica) : mesh_(mesh), replica_(replica) {}

    void put(Instant now, Token token, std::string_view repository, std::vector<Change> changes,
             Outbox& out);
    void cancel(Token token);
    void on_ack(Instant now, const NodeId& from, const wire::RepoPutAck& ack, Outbox& out);
    void on_unreachable(Instant now, const NodeId& node, Outbox& out);
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;
    [[nodiscard]] std::size_t open() const { return open_.size(); }

  private:
    struct Write {
        Token token = 0;
        bool silent = false;  // cancelled
        std::string repository;
        ShardId shard = 0;
        HlcTime stamp = 0;
        std::vector<std::vector<Row>> parts;  // each fits a frame
        std::map<NodeId, std::set<std::size_t>> durable;
        std::map<NodeId, std::string> trouble;  // what an owner last said instead
        std::set<std::size_t> at_own_disk;
        HlcTime newest = 0;
        int restamps = 0;
        Instant deadline;
        Instant retry_at;
    };
    using Open = std::map<std::uint64_t, Write>;
    struct Part {
        std::uint64_t write = 0;
        std::size_t index = 0;
    };

    void send_all(Instant now, std::uint64_t id, Write& write, Outbox& out);
    /// Puts the parts on this node's own disk that may be there.
    void keep_here(std::uint64_t id, Write& write, Outbox& out);
    /// Finishes the write when it has its quorum, or can have none since too many owners are gone.
    void check(Instant now, std::uint64_t id, Outbox& out);
    void restamp(Instant now, std::uint64_t id, Write& write, Outbox& out);
    void finish(std::uint64_t id, Status status, Outbox& out);
    [[nodiscard]] Error missing(const Write& write) const;
    /// On the disk of this owner, whole.
    [[nodiscard]] static bool is_on(const NodeId& owner, const Write& write);

    Mesh& mesh_;
    Replica& replica_;
    Open open_;
    std::map<RequestId, Part> requests_;
    std::map<std::pair<std::uint64_t, std::size_t>, RequestId> request_of_;
    std::uint64_t last_write_ = 0;
};

}  // namespace fastreg::repo
