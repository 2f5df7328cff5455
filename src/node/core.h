// The mind of one node: membership, directory, repositories and transfer, connected to each other and
// to the store. The same object runs under sockets (node/node.cc) and in the simulator (tests/sim).
// Told of events; acts through Net and Store. Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/rare_line.h"
#include "node/downloads.h"
#include "node/handoff.h"
#include "node/homes.h"
#include "node/net.h"
#include "node/parts.h"

namespace fastreg::node {

using RowsAnswer = std::function<void(Result<std::vector<repo::Row>>, bool more)>;
using WriteAnswer = std::function<void(Status)>;

class Core final : private transfer::LocalBlobs {
  public:
    /// `store` is open. Loads its rows; says nothing to the network before start().
    Core(Net& net, store::Store& store, CoreOptions options, Rng rng);
    ~Core() override;
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    /// The addresses others reach this node at are known: joins the mesh.
    void start(const std::vector<Endpoint>& seeds);
    void join(const Endpoint& seed);
    /// Replaces the seeds that are dialled again and again.
    void set_seeds(const std::vector<Endpoint>& seeds);
    /// A join by hand failed: `seed` is dialled no more, unless the configuration names it.
    void withdraw(const Endpoint& seed);
    /// Before leave(): hands off what this node keeps for the mesh. See Handoff.
    [[nodiscard]] Status hand_off(std::function<bool()> busy = {});
    /// SIGTERM: comes back soon. Leave: gone for good.
    void stop();
    void leave();
    /// After stop() or leave(): everything that had to be said was said.
    [[nodiscard]] bool quiet() const { return parts_.gossip.quiet(); }

    // From the control links.
    void on_frame(NodeId from, wire::Purpose purpose, const wire::Frame& frame);
    void on_link_up(NodeId peer, wire::Purpose purpose);
    void on_link_down(NodeId peer, wire::Purpose purpose);
    /// Somebody else than `expected` proved to be at `address`.
    void on_wrong_peer(NodeId expected, const Endpoint& address, NodeId found);
    void on_send_failed(NodeId to, const Endpoint& address, wire::Purpose purpose);
    /// Whoever is at the dialled `address` said that this node is of another cluster or has another key: told
    /// before on_send_failed. A seed that does is there, so this node is not the first of a mesh.
    void on_foreign(const Endpoint& address, const std::string& why);
    /// The handshake at the dialled `address` ended well.
    void on_dialled(const Endpoint& address);

    // From the data links.
    void on_transfer(NodeId from, const wire::TransferMessage& message);
    void on_fetch_end(NodeId from, RequestId request, const transfer::ChunkEnd& end);
    /// Where peers take RDMA connections now; empty: nowhere. The mesh is told.
    void set_rdma(const Endpoint& address);
    void on_fetch_bytes(NodeId from, RequestId request, std::uint64_t bytes);
    void on_serve_end(NodeId to, RequestId request, bool ok);
    void on_data_link_down(NodeId peer);

    void on_deadline();

    // Questions and work for the registry and the admin listener.
    void read_rows(std::string_view repository, repo::Query query, RowsAnswer answer);
    void write_rows(std::string_view repository, std::vector<repo::Change> changes, WriteAnswer answer);
    /// A blob of a client is durable here: tells the directory and starts its copies.
    void on_pushed(const Digest& digest, std::uint64_t size);
    [[nodiscard]] Downloads& downloads() { return downloads_; }
    [[nodiscard]] Homes& homes() { return homes_; }
    [[nodiscard]] const Handoff& handoff() const { return handoff_; }
    [[nodiscard]] store::Store& store() { return parts_.store; }
    [[nodiscard]] const gossip::Gossip& gossip() const { return parts_.gossip; }
    [[nodiscard]] const transfer::Transfer& transfer() const { return parts_.transfer; }
    [[nodiscard]] const directory::Directory& directory() const { return parts_.directory; }
    [[nodiscard]] const repo::Repo& repo() const { return parts_.repo; }
    /// What the operator must know of now: another process under this node's id. Empty when all is well.
    [[nodiscard]] std::vector<std::string> warnings() const;
    /// Whether requests for repositories can be answered: the node has met its mesh, or is one alone, and has copied
    /// once what it owns. The error says what is waited for; copying is, for the grace of an owner at most.
    [[nodiscard]] Status ready() const;
    [[nodiscard]] Instant now() const { return parts_.now(); }
    [[nodiscard]] const CoreOptions& options() const { return parts_.options; }
    using HoldersAnswer = std::function<void(std::optional<std::uint64_t> size, std::vector<directory::Holder>)>;
    /// Who holds the blob, and its size as they announced it, asked of the directory; nothing when nobody answers.
    void holders(const Digest& digest, HoldersAnswer answer);
    /// Removes a blob from this node and tells the directory.
    void remove_blob(const Digest& digest, std::function<void(Status)> done);
    /// Carries out what is pending; events call it themselves.
    void drain();

  private:
    void arm();

    // core_members.cc
    [[nodiscard]] static gossip::Self self_of(const store::Store& store, const CoreOptions& options);
    void act(gossip::Action& action);
    void member_changed(const Member& member);
    void report_conflict(const gossip::IdentityConflict& conflict);
    void save_peers();
    [[nodiscard]] Status may_speak() const;
    void note_caught_up();
    void note_whole();

    // core_rows.cc
    void load_rows();
    void act(repo::Action& action);
    void persist(repo::Persist& action);

    // core_blobs.cc
    void act(directory::Action& action);
    void act(transfer::Action& action);
    void on_withdrawn(const Digest& digest, const store::BlobInfo& info, store::WithdrawReason reason);
    [[nodiscard]] bool may_evict(const Digest& digest);
    [[nodiscard]] std::optional<std::uint64_t> complete_size(const Digest& digest) const override;

    Parts parts_;
    Downloads downloads_;
    Homes homes_;
    Handoff handoff_;
    bool draining_ = false;
    bool started_ = false;
    std::unordered_map<repo::Token, RowsAnswer> reads_;
    std::unordered_map<repo::Token, WriteAnswer> writes_;
    std::unordered_map<directory::LookupId, HoldersAnswer> asks_;
    repo::Token next_token_ = 1;
    directory::LookupId next_ask_ = directory::LookupId{1} << 61U;
    Instant save_peers_at_ = Instant::never();
    std::uint64_t whole_changes_ = 0;  // of the owners that repo remembers; saved with the peers
    Instant alone_until_;
    Instant judge_seeds_until_;  // a seed that refuses this node until then holds it back
    std::set<Endpoint> seeds_;   // of the configuration
    std::map<Endpoint, std::string> foreign_seeds_;  // those that refuse this node, and why
    bool held_back_ = false;     // such a seed was met before any member
    bool caught_up_ = false;     // every shard that it owned at one moment of this run was copied
    Instant catch_up_until_;     // no longer than that is waited for it
    struct Conflict {
        std::string other;
        std::string why;
        Instant seen;
    };
    std::optional<Conflict> conflict_;  // the last one
    RareLine frames_rejected_;
};

}  // namespace fastreg::node
