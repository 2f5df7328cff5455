// Reads of this node: a quorum of owners is asked, the larger stamp wins, who lags is repaired.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "repo/mesh.h"
#include "repo/replica.h"
#include "repo/sync.h"

namespace fastreg::repo {

class Reader {
  public:
    Reader(Mesh& mesh, Replica& replica, Sync& sync)
        : mesh_(mesh), replica_(replica), sync_(sync) {}

    void get(Instant now, Token token, std::string_view repository, Query query, Outbox& out);
    void cancel(Token token);
    void on_reply(Instant now, const NodeId& from, const wire::RepoGetReply& reply, Outbox& out);
    void on_unreachable(Instant now, const NodeId& node, Outbox& out);
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;
    [[nodiscard]] std::size_t open() const { return open_.size(); }

  private:
    struct Read {
        Token token = 0;
        std::string repository;
        ShardId shard = 0;
        Query query;  // `after` moves on from round to round
        std::vector<Row> rows;
        std::size_t cost = 0;
        std::map<NodeId, Replica::Answer> answers;  // of this round
        std::set<NodeId> asked;
        std::set<NodeId> waiting;  // of those asked
        int hedges = 0;
        std::map<NodeId, std::string> trouble;  // asked, and could not answer
        Instant deadline;
        Instant hedge_at;
    };
    using Open = std::map<RequestId, Read>;  // by the request id of the running round
    using Winners = std::map<std::string_view, const Row*>;  // by key; points into the answers

    void round(Instant now, Read read, Outbox& out);
    void ask_self(Read& read) const;
    /// Asks until as many owners as the quorum needs have answered or are waited for, plus `extra`.
    void ask(RequestId request, Read& read, std::size_t extra, Outbox& out);
    [[nodiscard]] bool enough(const Read& read) const;
    /// Too many owners are gone for this read to end well. Ends it.
    bool give_up(Open::iterator it, Outbox& out);
    /// Joins the answers of a round; ends the read or starts the next round.
    void join(Instant now, Open::iterator it, Outbox& out);
    /// A manifest's row counts when all who answered gave one: else somebody's tag points elsewhere, or it does not
    /// have the row, or does not know the question.
    static void drop_unagreed(const Read& read, Winners& winners);
    void repair(const std::map<NodeId, std::vector<Row>>& repairs, Outbox& out);
    [[nodiscard]] static bool plausible(const Read& read, const Replica::Answer& answer);
    [[nodiscard]] Error missing(const Read& read) const;

    Mesh& mesh_;
    Replica& replica_;
    Sync& sync_;
    Open open_;
};

}  // namespace fastreg::repo
