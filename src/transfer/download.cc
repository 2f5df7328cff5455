// The life of one download: size, partial file, success, failure. What else it does is in the other
// download_*.cc, each named by what it decides (docs/ARCHITECTURE.md lists them).
#include <algorithm>
#include <utility>

#include "transfer/download.h"

namespace fastreg::transfer {

Download::Download(Instant now, const Digest& digest, Context& context)
    : digest_(digest), context_(context), stored_at_(now), alive_at_(now), alive_checked_(now),
      lookup_wait_(context.options.lookup_first) {}

void Download::start(Instant now, Outbox& out) {
    look_up(now, out);
    plan_wake(now);
}

void Download::set_size(Instant now, std::uint64_t size, Outbox& out) {
    if (size_) return;
    if (size > kBlobSizeMax) {
        fail_with(Errc::too_large, "downloading " + digest_.str() + ": " + human_bytes(size) +
                                       " is over the limit of 1 TiB", out);
        return;
    }
    size_ = size;
    size_sure_ = size_claims_.empty();
    grid_ = ChunkGrid(size);
    have_ = ChunkMap(grid_.count());
    limbo_ = ChunkMap(grid_.count());
    trust_ = ChainTrust(digest_.alg, grid_);
    if (stored_chain_ && stored_chain_->alg() == digest_.alg) trust_.set_own(stored_chain_->bytes());
    picker_ = ChunkPicker(grid_.count());
    const double guess = context_.seconds_per_byte * static_cast<double>(grid_.chunk_size());
    pacing_ = Pacing(Duration(static_cast<std::int64_t>(guess * 1e9)));
    out.push_back(OpenPartial{digest_, size});
    for (auto& [node, neighbour] : swarm_.all()) {
        neighbour.since = now;
        neighbour.has = ChunkMap(grid_.count());
        if (neighbour.dialled) {
            greet(node, out);  // its map came before the size was sure, or comes now
        } else {
            neighbour.answered = true;
            send_map(node, out);
        }
    }
}

void Download::settle_size(Instant now, Outbox& out) {
    // Two that agree, or the only ones that could be asked.
    if (size_ || size_claims_.empty()) return;
    std::map<std::uint64_t, std::size_t> votes;
    for (const auto& [node, size] : size_claims_) ++votes[size];
    const auto best = std::ranges::max_element(
        votes, [](const auto& a, const auto& b) { return a.second < b.second; });
    const bool waiting = std::ranges::any_of(
        swarm_.all(), [](const auto& entry) { return !entry.second.answered; });
    if (best->second >= 2 || !waiting) {
        for (auto& [node, neighbour] : swarm_.all()) neighbour.answered = false;
        set_size(now, best->first, out);
    }
}

void Download::set_have(ChunkMap have) {
    if (size_ && !opened_ && have.count() == grid_.count()) have_ = std::move(have);
}

void Download::on_opened(Instant now, const Status& status, ChunkMap have, Outbox& out) {
    if (opened_ || !size_ || over_) return;
    if (!status) {
        Error error = status.error();  // errno and all: it may name a file
        error.what = "making the partial file of " + digest_.str() + ": " + error.what;
        fail_with(std::move(error), out);
        return;
    }
    if (have.count() == grid_.count()) {
        for (ChunkIndex i = have.first_set(); i < have.count(); i = have.first_set(i + 1)) have_.set(i);
    }
    opened_ = true;
    for (ChunkIndex i = have_.first_set(); i < have_.count(); i = have_.first_set(i + 1)) {
        picker_.close(i);
    }
    if (have_.set_count() != 0) {
        for (const auto& [node, neighbour] : swarm_.all()) send_map(node, out);
    }
    report_progress(out);
    finish_if_complete(out);
    alive_at_ = now;
}

void Download::finish_if_complete(Outbox& out) {
    if (over_ || !complete() || !trust_.whole()) return;
    const ByteView links = trust_.links();
    auto chain = Chain::from_bytes(digest_.alg, grid_, Bytes(links.begin(), links.end()));
    FR_ASSERT(chain.has_value());  // the grid and the length are our own
    Completed done{digest_, *size_, *std::move(chain), {}};
    for (const auto& [source, share] : shares_) done.sources.push_back(share);
    while (!requests_.all().empty()) cancel_request(requests_.all().front(), out);
    while (!bad_.empty()) name_suspects(bad_.begin()->first, out);  // the chain is proven
    out.push_back(std::move(done));
    over_ = true;
}

void Download::stop_quietly(Outbox& out) {
    while (!requests_.all().empty()) cancel_request(requests_.all().front(), out);
    absolve_suspects();  // nobody will know any more whose fault it was
    over_ = true;
}

void Download::stop(Outbox& out) {
    stop_quietly(out);
    for (const auto& [node, neighbour] : swarm_.all()) {
        context_.send(out, node, wire::Done{digest_});
    }
}

void Download::fail_with(Errc code, std::string what, Outbox& out) {
    fail_with(Error{code, 0, std::move(what)}, out);
}

void Download::fail_with(Error error, Outbox& out) {
    if (over_) return;
    stop(out);
    out.push_back(Failed{digest_, std::move(error)});
}

BlobStatus Download::status() const {
    BlobStatus status;
    status.digest = digest_;
    status.size = size_;
    status.chunks = have_;
    status.chain_known = size_ && trust_.whole();
    for (const auto& [source, share] : shares_) status.sources.push_back(share);
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (neighbour.answered) status.neighbours.emplace(node, neighbour.has.set_count());
    }
    status.outstanding = requests_.all().size();
    status.tau = pacing_.tau();
    return status;
}

SourceShare& Download::share_of(const NodeId& node, Road road) {
    SourceShare& share = shares_[{node, road}];
    share.node = node;
    share.road = road;
    return share;
}

}  // namespace fastreg::transfer
