// The asker's side of the directory: one owner after the other until one names a holder.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "directory/keeper.h"
#include "directory/mesh.h"

namespace fastreg::directory {

class Asker {
  public:
    Asker(Mesh& mesh, Keeper& keeper) : mesh_(mesh), keeper_(keeper) {}

    void look_up(Instant now, LookupId id, const Digest& digest, Intent intent, Outbox& out);
    void cancel(LookupId id);
    void on_reply(Instant now, const NodeId& from, const wire::LookupReply& message, Outbox& out);
    void on_unreachable(Instant now, const NodeId& node, Outbox& out);
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;
    [[nodiscard]] std::size_t open() const { return open_.size(); }

  private:
    struct Question {
        LookupId id = 0;
        Digest digest;
        Intent intent = Intent::ask;
        std::vector<NodeId> to_ask;   // nearest first
        std::vector<NodeId> waiting;  // asked, no answer yet
        std::vector<NodeId> silent;   // failed or too late
        Instant next_at = Instant::never();
        bool authoritative = false;
        std::size_t answers = 0;
        std::optional<std::uint64_t> size;
        std::map<NodeId, HolderKind> holders;
    };
    using Open = std::map<RequestId, Question>;

    /// True when there is nothing more to wait for.
    [[nodiscard]] bool take(Question& q, const wire::LookupReply& reply) const;
    /// Asks the next owner; false when none is left and nobody is waited for.
    bool ask_next(Instant now, RequestId request, Question& q, Outbox& out);
    void finish(Open::iterator it, Outbox& out);

    Mesh& mesh_;
    Keeper& keeper_;
    Open open_;
};

}  // namespace fastreg::directory
