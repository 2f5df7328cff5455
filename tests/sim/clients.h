// Virtual clients: they push, pull, tag, list and delete as the registry does, through Core and Store,
// and remember what they were promised. Every byte and every row they get is held against that.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/sim_node.h"

namespace fastreg::sim {

using Nodes = std::vector<std::unique_ptr<SimNode>>;

/// One blob as it was made, and who promised what about it.
struct BlobTruth {
    Digest digest;
    Bytes bytes;
    std::map<std::size_t, std::uint64_t> durable_at;  // node -> life of its disk, when it said 201
    bool replicated = false;  // a manifest that names it was acknowledged with as many copies as wanted
};

/// One write of one key. `end` is never() while, or if, it was not acknowledged.
struct WriteTruth {
    Instant start;
    Instant end = Instant::never();
    std::optional<Digest> value;  // none: a delete
};

class Clients {
  public:
    /// `replicas`: copies that an acknowledged image has at least, if there were as many members.
    Clients(World& world, Nodes& nodes, std::uint64_t blob_max, std::size_t replicas)
        : world_(world), nodes_(nodes), blob_max_(blob_max), replicas_(replicas) {}

    /// Something a client may do, at a node that runs.
    void act();
    void push_image(std::size_t node);
    /// Pushes one blob of 24 chunks, and has up to six others pull it while this node alone holds it.
    void rush(std::size_t node);
    void set_tag(std::size_t node, const std::string& repo, const std::string& tag, bool remove);
    void read_tag(std::size_t node, const std::string& repo, const std::string& tag,
                  std::function<void(Result<std::optional<Digest>>)> done);
    void list_tags(std::size_t node, const std::string& repo);
    /// Reads bytes [begin, end) of the blob; `done(false)` when the node said that it cannot.
    void pull(std::size_t node, std::size_t blob, std::uint64_t begin, std::uint64_t end,
              std::function<void(bool)> done);

    /// Bytes of this node's copy were changed behind its back.
    void spoil(std::size_t node) { spoiled_.insert(node); }
    [[nodiscard]] bool spoiled(std::size_t node) const { return spoiled_.contains(node); }
    void check_stuck();

    [[nodiscard]] const std::deque<BlobTruth>& blobs() const { return blobs_; }
    [[nodiscard]] const std::map<std::pair<std::string, std::string>, std::vector<WriteTruth>>& keys() const {
        return keys_;
    }
    [[nodiscard]] std::size_t open_pulls() const { return pulls_.size(); }

  private:
    struct Push;
    struct Pull;
    using PushPtr = std::shared_ptr<Push>;

    std::size_t make_blob(std::uint64_t size);
    [[nodiscard]] bool alive(const Push& push) const;
    void push_next(const PushPtr& push);
    void append_next(const PushPtr& push);
    void push_manifest(const PushPtr& push);
    void pull_elsewhere(std::size_t node, std::size_t blob);
    void place_copies(const PushPtr& push);
    void write_names(const PushPtr& push);
    void on_news(const std::shared_ptr<Pull>& pull, const node::StreamNews& news);
    void end_pull(const std::shared_ptr<Pull>& pull, bool ok);
    bool compare(Pull& pull, store::File& file, std::uint64_t to);
    std::size_t begin_write(const std::string& repo, const std::string& tag, std::optional<Digest> value);
    void read_elsewhere(const std::string& repo, const std::string& tag);
    void check_read(const std::string& repo, const std::string& tag, Instant start,
                    const std::optional<Digest>& got);

    World& world_;
    Nodes& nodes_;
    std::uint64_t blob_max_;
    std::size_t replicas_;
    std::deque<BlobTruth> blobs_;
    std::map<std::pair<std::string, std::string>, std::vector<WriteTruth>> keys_;
    std::map<std::uint64_t, std::shared_ptr<Pull>> pulls_;
    std::set<std::size_t> spoiled_;
    std::uint64_t next_ = 1;
};

}  // namespace fastreg::sim
