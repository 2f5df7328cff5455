// Blobs on their way into this node: who waits for them, who reads along, and what the transfer core
// and the store must tell each other. Holds no rule of its own. Loop thread only.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/recent.h"
#include "node/parts.h"

namespace fastreg::node {

/// What a reader of a blob in progress is told.
struct StreamNews {
    std::shared_ptr<store::File> file;  // set from the first news with bytes on
    std::uint64_t ready_end = 0;        // bytes before this offset may be sent
    bool done = false;                  // ready_end is the end; nothing more comes
    std::optional<Error> failed;        // nothing more comes
};
using StreamId = std::uint64_t;
using OnNews = std::function<void(const StreamNews&)>;

/// The same end of a landing, in the words of the transfer core.
[[nodiscard]] transfer::ChunkOutcome transfer_outcome(store::ChunkOutcome outcome);

class Downloads {
  public:
    using Done = std::function<void(Status)>;

    explicit Downloads(Parts& parts) : parts_(parts), open_files_(parts.options.open_blobs) {}

    /// Has the whole blob here, verified; `durable`: and synced. `holder` is asked for it at once, without
    /// waiting for the directory, which hears of a new blob a moment later.
    void acquire(const Digest& digest, std::optional<std::uint64_t> size, bool durable,
                 std::optional<NodeId> holder, Done done);
    /// The file of a blob that acquire() said is here. Errc::not_found: it was not, or not with its size any
    /// more, and was withdrawn: acquire it again. Other errors: this node cannot read it now.
    void open(const Digest& digest, std::function<void(Result<std::shared_ptr<store::File>>)> done);
    /// A reader found the file short or unreadable in the middle: looks at it, and withdraws what is bad.
    void suspect(const Digest& digest);
    /// The peer `by` says that what it got of this blob does not hold: reads the file back, one at a time and each
    /// at most once in ten minutes, whoever says so how often.
    void doubted(const Digest& digest, NodeId by);
    /// Reads [begin, end) while it arrives; starts the download. News comes until done or failed.
    StreamId open_stream(const Digest& digest, std::uint64_t size, std::uint64_t begin,
                         std::uint64_t end, OnNews on_news);
    /// The reader has consumed up to `offset`.
    void move_stream(StreamId id, std::uint64_t offset);
    void close_stream(StreamId id);

    // Actions of the transfer core.
    void open_partial(const transfer::OpenPartial& action);
    void fetch(const transfer::FetchChunk& action);
    void serve(const transfer::ServeChunk& action);
    void need_chain(const transfer::NeedChain& action);
    void unverify(const transfer::Unverify& action);
    void look_up(const transfer::LookUp& action);
    void have(const Digest& digest);
    void completed(const transfer::Completed& action);
    void failed(const transfer::Failed& action);

    // Events.
    void on_found(const directory::Found& found);
    void on_lookup_failed(const directory::LookupFailed& failed);
    void on_fetch_end(NodeId from, RequestId request, const transfer::ChunkEnd& end);
    /// The blob became whole by another way than its download: whoever waits for that is served from it.
    void came_whole(const Digest& digest);
    /// The blob left the store: its open file is forgotten.
    void on_withdrawn(const Digest& digest);

    [[nodiscard]] std::size_t active() const { return downloads_.size(); }
    /// Who gave what to a blob that was completed since the start; the last 4,096 are kept.
    [[nodiscard]] const std::vector<transfer::SourceShare>* sources(const Digest& digest);

  private:
    struct Download {
        std::optional<std::uint64_t> size;
        bool durable = false;
        bool finishing = false;
        std::shared_ptr<store::Partial> partial;  // none while chunks of it are revoked
        std::vector<ChunkIndex> wrong;            // to be revoked next
        std::vector<Done> waiters;
        std::vector<StreamId> streams;
        Instant since;
        directory::LookupId lookup = 0;
    };
    struct Stream {
        Digest digest;
        std::uint64_t ready = 0;
        std::uint64_t end = 0;
        OnNews on_news;
        Instant since;
        bool begun = false;
        std::uint64_t begin = 0;
        Instant dry_since = Instant::never();  // the client was given all that is ready
    };

    using OnVerified = std::function<void(const Result<store::VerifyReport>&)>;
    /// Hashes the blob's file once for all who ask meanwhile.
    void verify(const Digest& digest, OnVerified done);
    void read_back_next();
    Download& start(const Digest& digest, std::optional<std::uint64_t> size, bool durable);
    void end_stall(Stream& stream);
    /// Out of the list, for its last news; nothing when it was closed.
    [[nodiscard]] std::optional<Stream> take_stream(StreamId id);
    void advance_streams(const Digest& digest, Download& download, bool complete);
    void revoke(const Digest& digest, Download& download);
    void cut_streams(const transfer::Unverify& action, const ChunkGrid& grid, Download& download);
    void fail_all(const Digest& digest, const Error& error);
    /// `file`, or the blob's own opened anew. Errc::corrupt when it does not have the size of the blob.
    [[nodiscard]] Result<std::shared_ptr<store::File>> whole_file(const Digest& digest,
                                                                  std::shared_ptr<store::File> file) const;
    [[nodiscard]] Result<std::shared_ptr<store::File>> file_to_serve(const Digest& digest);

    Parts& parts_;
    std::map<Digest, Download> downloads_;
    std::map<Digest, std::vector<OnVerified>> verifying_;
    Recent<Digest, Instant> doubted_{1024};
    std::deque<Digest> doubts_;  // to be read back; the first is
    std::unordered_map<StreamId, Stream> streams_;
    struct OpenFetch {
        Digest digest;
        ChunkIndex chunk = 0;
        Instant since;
    };
    struct OpenLookup {
        Digest digest;
        Instant since;
    };
    std::unordered_map<RequestId, OpenFetch> fetches_;
    std::unordered_map<directory::LookupId, OpenLookup> lookups_;
    Recent<Digest, std::vector<transfer::SourceShare>> sources_{4096};
    Recent<Digest, std::shared_ptr<store::File>> open_files_;
    StreamId next_stream_ = 1;
    directory::LookupId next_lookup_ = 1;
};

}  // namespace fastreg::node
