// Who holds which blob. 4,096 shards by digest, three owners each; holders tell the owners what they
// have, askers ask one of them. Answers are hints. Sans-I/O: told the time and messages, answers with
// actions; one thread. See docs/PROTOCOL.md, "Directory".
#pragma once

#include <memory>
#include <string>

#include "base/member.h"
#include "base/random.h"
#include "directory/types.h"

namespace fastreg::directory {

class Directory {
  public:
    Directory(NodeId self, BootEpoch epoch, Options options, Rng rng);
    ~Directory();
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;

    /// Every change gossip tells of, this node itself included (once at start, else it owns nothing).
    void on_member(Instant now, const Member& member, Outbox& out);
    void on_message(Instant now, const NodeId& from, const wire::DirectoryMessage& message,
                    Outbox& out);
    /// A send to `node` failed or its link broke: what it was asked is asked elsewhere at once.
    void on_unreachable(Instant now, const NodeId& node, Outbox& out);

    /// This node holds (part of) a blob; again with another kind when that changes. Kind is not none.
    void on_have(Instant now, const Digest& digest, std::uint64_t size, HolderKind kind, Outbox& out);
    void on_gone(Instant now, const Digest& digest, Outbox& out);
    /// `holder` was asked for the blob and does not have it: its owners forget that hint.
    void on_wrong_hint(Instant now, const Digest& digest, const NodeId& holder, Outbox& out);

    /// Ends in exactly one Found or LookupFailed, often before this returns when this node is an
    /// owner; within owner_timeout * 5 at the latest. "Nobody has it" is said only after every owner
    /// that answers was asked.
    void look_up(Instant now, LookupId id, const Digest& digest, Intent intent, Outbox& out);
    /// Nothing more is said of this look-up.
    void cancel(LookupId id);

    /// Early or twice is harmless.
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    [[nodiscard]] Stats stats() const;
    /// Owners of the digest's shard, highest in rank first; unreachable ones in grace included.
    [[nodiscard]] const std::vector<NodeId>& owners(const Digest& digest) const;

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace fastreg::directory
