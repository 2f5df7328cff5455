// What is true of a name: the rows of a repository on its three owners, written and read by quorum.
// Sans-I/O: told the time and messages, answers with actions; one thread.
// See docs/PROTOCOL.md, "Repositories".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/member.h"
#include "base/random.h"
#include "repo/types.h"
#include "repo/values.h"

namespace fastreg::repo {

/// `wall_ms` is the clock of this node (milliseconds since 1970); it feeds the hybrid logical clock and
/// the age of tombstones, never a timer.
class Repo {
  public:
    Repo(NodeId self, BootEpoch epoch, Options options, Rng rng);
    ~Repo();
    Repo(const Repo&) = delete;
    Repo& operator=(const Repo&) = delete;

    /// The rows of the disk; once, before anything else.
    void load(std::uint64_t wall_ms, std::vector<Row> rows);
    /// What memory() said in the run before this one, as last written down; before on_member(). Never that of an
    /// older run, or of another disk: then nothing.
    void remember(const Memory& memory);

    /// Every change gossip tells of, this node itself included (once at start, else it owns nothing).
    void on_member(Instant now, const Member& member, Outbox& out);
    void on_message(Instant now, std::uint64_t wall_ms, const NodeId& from,
                    const wire::RepoMessage& message, Outbox& out);
    /// A send to `node` failed or its link broke: what it was asked is asked elsewhere at once.
    void on_unreachable(Instant now, const NodeId& node, Outbox& out);
    /// The answer to Persist.
    void on_persisted(Instant now, PersistToken token, const Status& status, Outbox& out);

    /// Ends in exactly one PutDone. All changes carry one stamp and become durable on the owners row by
    /// row; ok means: every later get() on any node sees them or something newer. Errc::unavailable
    /// names the owners that are missing; then the write may or may not be there, and doing it again
    /// is harmless. Errc::invalid_argument, too_large: nothing was sent.
    void put(Instant now, std::uint64_t wall_ms, Token token, std::string_view repository,
             std::vector<Change> changes, Outbox& out);
    /// Ends in exactly one GetDone. Errc::unavailable names the owners that are missing.
    void get(Instant now, Token token, std::string_view repository, Query query, Outbox& out);
    /// Nothing more is said of this token; a put goes on all the same.
    void cancel(Token token);

    /// Repositories this node has live rows of, ascending, behind `after`.
    [[nodiscard]] std::vector<std::string> catalog(std::string_view after, std::size_t limit) const;

    /// This node leaves: has the rows of every shard that it owns on their other owners, those that can be reached.
    /// To be called again, about every second, while to_hand_over() says that shards are left.
    void hand_over(Instant now, Outbox& out);
    [[nodiscard]] std::size_t to_hand_over() const;

    /// Early or twice is harmless.
    void on_deadline(Instant now, std::uint64_t wall_ms, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    [[nodiscard]] Stats stats() const;
    /// To be written down soon after memory_changes() grew, for the next run's remember().
    [[nodiscard]] Memory memory() const;
    [[nodiscard]] std::uint64_t memory_changes() const;
    /// Owners of the repository, highest in rank first; unreachable ones in grace included.
    [[nodiscard]] const std::vector<NodeId>& owners(std::string_view repository) const;

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace fastreg::repo
