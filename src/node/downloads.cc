#include "node/downloads.h"

#include <algorithm>

#include "base/log.h"

namespace fastreg::node {

transfer::ChunkOutcome transfer_outcome(store::ChunkOutcome outcome) {
    switch (outcome) {
        case store::ChunkOutcome::stored: return transfer::ChunkOutcome::stored;
        case store::ChunkOutcome::bad_checksum: return transfer::ChunkOutcome::bad_checksum;
        case store::ChunkOutcome::closed: return transfer::ChunkOutcome::refused;
        case store::ChunkOutcome::bad_link:
        case store::ChunkOutcome::conflict: return transfer::ChunkOutcome::bad_link;
        case store::ChunkOutcome::disk_full: return transfer::ChunkOutcome::disk_full;
        case store::ChunkOutcome::disk_error: break;
    }
    return transfer::ChunkOutcome::disk_error;
}

namespace {

constexpr Duration kDoubtAgain = 600s;
constexpr std::size_t kDoubtsMax = 16;

/// "1a2b3c4d:12,5e6f7a8b:3:rdma": who sent how many chunks, those that sent most first.
std::string senders(std::vector<transfer::SourceShare> shares) {
    constexpr std::size_t kNamed = 8;
    std::ranges::sort(shares, std::greater<>(), &transfer::SourceShare::chunks);
    std::string text;
    for (std::size_t i = 0; i < std::min(shares.size(), kNamed); ++i) {
        text += (i == 0 ? "" : ",") + shares[i].node.brief() + ":" + std::to_string(shares[i].chunks);
        if (shares[i].road == Road::rdma) text += ":rdma";
    }
    if (shares.size() > kNamed) text += " and " + std::to_string(shares.size() - kNamed) + " more";
    return text;
}

}  // namespace

void Downloads::acquire(const Digest& digest, std::optional<std::uint64_t> size, bool durable,
                        std::optional<NodeId> holder, Done done) {
    if (const auto info = parts_.store.find(digest)) {
        if (info->verified) {
            done({});
            return;
        }
        verify(digest, [this, digest, size, durable, holder,
                        done = std::move(done)](const Result<store::VerifyReport>& report) {
            if (report && report->good) {
                done({});
            } else if (!report && parts_.store.find(digest)) {
                done(tl::unexpected<Error>(report.error()));  // it could not be read just now
            } else {
                acquire(digest, size, durable, holder, done);  // it was withdrawn
            }
        });
        return;
    }
    start(digest, size, durable).waiters.push_back(std::move(done));
    if (holder) parts_.transfer.on_holder(parts_.now(), digest, {*holder, true}, parts_.transfer_out);
    parts_.drain();
}

void Downloads::verify(const Digest& digest, OnVerified done) {
    auto [at, is_new] = verifying_.try_emplace(digest);
    at->second.push_back(std::move(done));
    if (!is_new) return;
    parts_.store.verify(digest, [this, digest](const Result<store::VerifyReport>& report) {
        const auto waiting = verifying_.extract(digest);
        for (const auto& told : waiting.mapped()) told(report);
        parts_.drain();
    });
}

Downloads::Download& Downloads::start(const Digest& digest, std::optional<std::uint64_t> size,
                                      bool durable) {
    auto [at, is_new] = downloads_.try_emplace(digest);
    Download& download = at->second;
    download.durable = download.durable || durable;
    if (is_new) {
        download.since = parts_.now();
        download.size = size;
        parts_.transfer.want(parts_.now(), digest, size, {}, std::nullopt, parts_.transfer_out);
    } else if (size && !download.size) {
        download.size = size;
        parts_.transfer.want(parts_.now(), digest, size, {}, std::nullopt, parts_.transfer_out);
    }
    return download;
}

StreamId Downloads::open_stream(const Digest& digest, std::uint64_t size, std::uint64_t begin,
                                std::uint64_t end, OnNews on_news) {
    const StreamId id = next_stream_++;
    streams_.emplace(id, Stream{digest, begin, end, std::move(on_news), parts_.now(), false, begin});
    Download& download = start(digest, size, false);
    download.streams.push_back(id);
    parts_.transfer.add_reader(parts_.now(), digest, id, begin, end, parts_.transfer_out);
    advance_streams(digest, download, download.finishing);
    parts_.drain();
    return id;
}

void Downloads::move_stream(StreamId id, std::uint64_t offset) {
    const auto at = streams_.find(id);
    if (at == streams_.end()) return;
    Stream& stream = at->second;
    // The wait before the first byte is told by ttfb.
    if (stream.begun && offset >= stream.ready && stream.dry_since == Instant::never()) {
        stream.dry_since = parts_.now();
    }
    parts_.transfer.move_reader(parts_.now(), stream.digest, id, offset, parts_.transfer_out);
    parts_.drain();
}

void Downloads::end_stall(Stream& stream) {
    const Instant since = std::exchange(stream.dry_since, Instant::never());
    if (since == Instant::never()) return;
    if (Meters* meters = parts_.options.meters) meters->stalls.add(parts_.now() - since);
}

std::optional<Downloads::Stream> Downloads::take_stream(StreamId id) {
    const auto at = streams_.find(id);
    if (at == streams_.end()) return std::nullopt;
    end_stall(at->second);
    Stream stream = std::move(at->second);
    streams_.erase(at);
    return stream;
}

void Downloads::close_stream(StreamId id) {
    const auto stream = take_stream(id);
    if (!stream) return;
    parts_.transfer.drop_reader(parts_.now(), stream->digest, id, parts_.transfer_out);
    if (const auto download = downloads_.find(stream->digest); download != downloads_.end()) {
        std::erase(download->second.streams, id);
    }
    parts_.drain();
}

void Downloads::open_partial(const transfer::OpenPartial& action) {
    const Digest digest = action.digest;
    parts_.store.open_partial(
        digest, action.size,
        [this, digest, size = action.size](Result<std::shared_ptr<store::Partial>> opened) {
            const auto at = downloads_.find(digest);
            if (at == downloads_.end()) return;
            Download& download = at->second;
            if (opened) {
                download.size = size;
                download.partial = *opened;
                parts_.transfer.on_opened(parts_.now(), digest, {}, (*opened)->map(), parts_.transfer_out);
                parts_.directory.on_have(parts_.now(), digest, size, directory::HolderKind::partial,
                                         parts_.directory_out);
                advance_streams(digest, download, false);
            } else {
                parts_.transfer.on_opened(parts_.now(), digest, Status(tl::unexpect, opened.error()), {},
                                          parts_.transfer_out);
            }
            parts_.drain();
        });
}

void Downloads::fetch(const transfer::FetchChunk& action) {
    const auto refuse = [&] {
        parts_.transfer.on_chunk(parts_.now(), action.from, action.request, action.digest, action.chunk,
                                 {transfer::ChunkOutcome::refused}, parts_.transfer_out);
    };
    const auto at = downloads_.find(action.digest);
    if (at == downloads_.end() || !at->second.partial) return refuse();
    auto landing = store::ChunkLanding::create(at->second.partial, action.chunk, action.start_link,
                                               action.end_link);
    const Endpoint address = parts_.transfer_address(action.from);
    if (!landing || address.empty()) return refuse();
    fetches_[action.request] = {action.digest, action.chunk, parts_.now()};
    parts_.net.fetch(Fetch{action.from, address, action.request, action.digest, action.size, action.chunk,
                           action.urgent, std::move(*landing)});
    if (Meters* meters = parts_.options.meters; meters != nullptr && action.second_copy) {
        meters->chunks_hedged.add();
    }
}

void Downloads::on_fetch_end(NodeId from, RequestId request, const transfer::ChunkEnd& end) {
    const auto at = fetches_.find(request);
    if (at == fetches_.end()) return;
    const auto [digest, chunk, since] = at->second;
    fetches_.erase(at);
    const bool awaited =
        parts_.transfer.on_chunk(parts_.now(), from, request, digest, chunk, end, parts_.transfer_out);
    if (Meters* meters = parts_.options.meters) {
        if (!awaited) meters->duplicate_bytes.add(end.bytes);
        if (awaited || end.outcome != transfer::ChunkOutcome::stored) {
            meters->chunk_ended(end, parts_.now() - since);
        }
    }
    parts_.drain();
}

// Asked at every use: one fstat against a body that ends too early, for a file may be cut at any time.
Result<std::shared_ptr<store::File>> Downloads::whole_file(const Digest& digest,
                                                           std::shared_ptr<store::File> file) const {
    const auto info = parts_.store.find(digest);
    if (!info) return fail(Errc::not_found, "the blob is not here");
    if (!file) {
        FR_TRY_ASSIGN(file, parts_.store.open_blob(digest));
    }
    FR_TRY_ASSIGN(const auto size, file->size());
    if (size == info->size) return file;
    return fail(Errc::corrupt, "the file of " + digest.str() + " has " + std::to_string(size) + " of " +
                                   std::to_string(info->size) + " bytes");
}

Result<std::shared_ptr<store::File>> Downloads::file_to_serve(const Digest& digest) {
    if (const auto at = downloads_.find(digest); at != downloads_.end() && at->second.partial) {
        return at->second.partial->file();
    }
    const auto* kept = open_files_.find(digest);
    FR_TRY_ASSIGN(auto file, whole_file(digest, kept != nullptr ? *kept : nullptr));
    open_files_.put(digest, file);
    parts_.store.touch(digest);
    return file;
}

void Downloads::open(const Digest& digest, std::function<void(Result<std::shared_ptr<store::File>>)> done) {
    auto file = whole_file(digest, nullptr);  // one that is kept open would hide that its name is gone
    if (file) {
        parts_.store.touch(digest);
        return done(std::move(file));
    }
    parts_.store.check_file(digest, [digest, error = file.error(), done = std::move(done)](bool here) {
        if (here) {
            done(tl::unexpected<Error>(error));
        } else {
            done(fail(Errc::not_found, digest.str() + " is not here any more"));
        }
    });
}

void Downloads::suspect(const Digest& digest) {
    parts_.store.check_file(digest, [this, digest](bool here) {
        if (here) verify(digest, [](const Result<store::VerifyReport>&) {});
    });
}

void Downloads::doubted(const Digest& digest, NodeId by) {
    const Instant now = parts_.now();
    const Instant* before = doubted_.find(digest);
    if ((before != nullptr && now < *before + kDoubtAgain) || doubts_.size() >= kDoubtsMax) return;
    doubted_.put(digest, now);
    log::warn("blob.doubted", {{"digest", digest.brief()}, {"by", by.brief()}, {"do", "it is read back now"}});
    doubts_.push_back(digest);
    if (doubts_.size() == 1) read_back_next();
}

void Downloads::read_back_next() {
    verify(doubts_.front(), [this](const Result<store::VerifyReport>&) {
        doubts_.pop_front();
        if (!doubts_.empty()) read_back_next();
    });
}

void Downloads::serve(const transfer::ServeChunk& action) {
    auto file = file_to_serve(action.digest);
    if (!file) {
        const Endpoint address = parts_.transfer_address(action.to);
        if (!address.empty()) {
            parts_.net.send_data(action.to, address, wire::NotHere{action.request, action.digest, false});
        }
        parts_.transfer.on_served(parts_.now(), action.to, action.request, false, parts_.transfer_out);
        parts_.store.check_file(action.digest, [](bool) {});
        return;
    }
    parts_.net.serve(Serve{action.to, action.request, std::move(*file), action.offset, action.length,
                           action.urgent});
}

void Downloads::need_chain(const transfer::NeedChain& action) {
    parts_.store.chain_of(action.digest, [this, digest = action.digest](Result<Chain> chain) {
        parts_.transfer.on_chain(parts_.now(), digest, std::move(chain), parts_.transfer_out);
        parts_.drain();
    });
}

void Downloads::unverify(const transfer::Unverify& action) {
    const auto at = downloads_.find(action.digest);
    if (at == downloads_.end() || !at->second.size) return;
    Download& download = at->second;
    cut_streams(action, ChunkGrid(*download.size), download);
    download.wrong.insert(download.wrong.end(), action.chunks.begin(), action.chunks.end());
    if (download.partial) revoke(action.digest, download);  // else it goes on when the one before has ended
}

void Downloads::revoke(const Digest& digest, Download& download) {
    const auto partial = std::exchange(download.partial, nullptr);
    ChunkMap wrong(partial->grid().count());
    for (const ChunkIndex chunk : std::exchange(download.wrong, {})) wrong.set(chunk);
    parts_.store.revoke(partial, wrong, [this, digest](Result<std::shared_ptr<store::Partial>> kept) {
        const auto at = downloads_.find(digest);
        if (at == downloads_.end()) return;
        if (kept) {
            at->second.partial = std::move(*kept);
            if (!at->second.wrong.empty()) revoke(digest, at->second);
        } else {
            parts_.transfer.cancel(parts_.now(), digest, parts_.transfer_out);
            fail_all(digest, kept.error());
        }
        parts_.drain();
    });
}

/// A client that was given a byte of these chunks must not see its body completed.
void Downloads::cut_streams(const transfer::Unverify& action, const ChunkGrid& grid, Download& download) {
    const auto ids = download.streams;
    for (const StreamId id : ids) {
        const auto stream = streams_.find(id);
        if (stream == streams_.end()) continue;
        const auto [begin, ready] = std::pair(stream->second.begin, stream->second.ready);
        const bool given = std::any_of(action.chunks.begin(), action.chunks.end(), [&](ChunkIndex c) {
            return grid.offset_of(c) < ready && grid.offset_of(c) + grid.size_of(c) > begin;
        });
        if (!given) continue;
        const auto taken = take_stream(id);
        std::erase(download.streams, id);
        parts_.transfer.drop_reader(parts_.now(), action.digest, id, parts_.transfer_out);
        taken->on_news({nullptr, ready, false,
              Error{Errc::corrupt, 0, "bytes of " + action.digest.str() +
                                          " came by a chain that proved wrong; ask for them again"}});
    }
}

void Downloads::look_up(const transfer::LookUp& action) {
    const auto at = downloads_.find(action.digest);
    if (at == downloads_.end()) return;
    const directory::LookupId id = next_lookup_++;
    at->second.lookup = id;
    lookups_[id] = {action.digest, parts_.now()};
    parts_.directory.look_up(parts_.now(), id, action.digest, directory::Intent::download,
                             parts_.directory_out);
}

void Downloads::on_found(const directory::Found& found) {
    const auto open = lookups_.find(found.id);
    if (open == lookups_.end()) return;
    if (Meters* meters = parts_.options.meters) {
        meters->looked_up(found.holders.empty() ? Meters::Lookup::nobody : Meters::Lookup::found,
                          parts_.now() - open->second.since);
    }
    lookups_.erase(open);
    std::vector<transfer::Holder> holders;
    for (const auto& holder : found.holders) {
        holders.push_back({holder.node, holder.kind != directory::HolderKind::partial});
    }
    parts_.transfer.on_holders(parts_.now(), found.digest, found.size, holders, parts_.transfer_out);
}

void Downloads::on_lookup_failed(const directory::LookupFailed& failed) {
    const auto open = lookups_.find(failed.id);
    if (open == lookups_.end()) return;
    if (Meters* meters = parts_.options.meters) {
        meters->looked_up(Meters::Lookup::failed, parts_.now() - open->second.since);
    }
    lookups_.erase(open);
    parts_.transfer.on_lookup_failed(parts_.now(), failed.digest, parts_.transfer_out);
}

void Downloads::have(const Digest& digest) {
    const auto at = downloads_.find(digest);
    if (at != downloads_.end()) advance_streams(digest, at->second, false);
}

void Downloads::advance_streams(const Digest& digest, Download& download, bool complete) {
    if (!download.partial) return;
    const auto ids = download.streams;  // a callback may close streams
    for (const StreamId id : ids) {
        const auto at = streams_.find(id);
        if (at == streams_.end()) continue;
        Stream& stream = at->second;
        const std::uint64_t run =
            complete ? stream.end : parts_.transfer.verified_run(digest, stream.ready);
        const std::uint64_t ready = std::min(run, stream.end);
        const bool done = complete || ready >= stream.end;
        if (ready <= stream.ready && !done) continue;
        end_stall(stream);
        stream.ready = ready;
        if (Meters* meters = parts_.options.meters; meters != nullptr && !stream.begun) {
            meters->ttfb.observe(seconds_of(parts_.now() - stream.since));
        }
        stream.begun = true;
        const OnNews tell = stream.on_news;
        if (done) {
            std::erase(download.streams, id);
            streams_.erase(at);
            parts_.transfer.drop_reader(parts_.now(), digest, id, parts_.transfer_out);
        }
        tell({download.partial->file(), ready, done, std::nullopt});
    }
}

void Downloads::completed(const transfer::Completed& action) {
    const auto at = downloads_.find(action.digest);
    if (at == downloads_.end() || !at->second.partial) return;
    Download& download = at->second;
    download.finishing = true;
    advance_streams(action.digest, download, true);
    sources_.put(action.digest, action.sources);
    const auto durability =
        download.durable ? store::Durability::durable : store::Durability::deferred;
    parts_.store.finish_partial(
        download.partial, durability,
        [this, digest = action.digest, size = action.size, from = senders(action.sources)](Status status) {
            if (!status) {
                log::error("blob.not_kept", {{"digest", digest.brief()}, {"why", describe(status.error())}});
                parts_.transfer.on_blob_gone(parts_.now(), digest, parts_.transfer_out);
                fail_all(digest, status.error());
                parts_.drain();
                return;
            }
            const auto done = downloads_.find(digest);
            if (done == downloads_.end()) return;
            const Duration took = parts_.now() - done->second.since;
            if (Meters* meters = parts_.options.meters) meters->blob_fetched(size, took, true);
            auto waiters = std::move(done->second.waiters);
            downloads_.erase(done);
            log::info("blob.pulled",
                      {{"digest", digest.brief()}, {"bytes", size}, {"ms", millis_of(took)}, {"from", from}});
            parts_.transfer.on_complete_blob(parts_.now(), digest, size, parts_.transfer_out);
            parts_.directory.on_have(parts_.now(), digest, size, directory::HolderKind::cache,
                                     parts_.directory_out);
            for (auto& waiter : waiters) waiter({});
            parts_.drain();
        });
}

void Downloads::failed(const transfer::Failed& action) {
    log::warn("blob.pull_failed",
              {{"digest", action.digest.brief()}, {"why", describe(action.error)}});
    fail_all(action.digest, action.error);
}

void Downloads::fail_all(const Digest& digest, const Error& error) {
    const auto at = downloads_.find(digest);
    if (at == downloads_.end()) return;
    Download download = std::move(at->second);
    downloads_.erase(at);
    if (Meters* meters = parts_.options.meters) {
        meters->blob_fetched(download.size.value_or(0), parts_.now() - download.since, false);
    }
    parts_.directory.on_gone(parts_.now(), digest, parts_.directory_out);
    parts_.store.park_partial(digest);
    for (auto& waiter : download.waiters) waiter(Status(tl::unexpect, error));
    for (const StreamId id : download.streams) {
        if (const auto stream = take_stream(id)) {
            stream->on_news({nullptr, stream->ready, false, error});
        }
    }
}

void Downloads::came_whole(const Digest& digest) {
    const auto at = downloads_.find(digest);
    if (at == downloads_.end() || at->second.finishing) return;  // its own end says it
    const auto file = parts_.store.open_blob(digest);
    if (!file) return fail_all(digest, file.error());
    Download download = std::move(at->second);
    downloads_.erase(at);
    parts_.store.drop_partial(digest, [](const Status& status) {
        if (!status) log::warn("partial.not_removed", {{"why", describe(status.error())}});
    });
    for (auto& waiter : download.waiters) waiter({});
    for (const StreamId id : download.streams) {
        if (const auto stream = take_stream(id)) {
            stream->on_news({*file, stream->end, true, std::nullopt});
        }
    }
}

void Downloads::on_withdrawn(const Digest& digest) {
    open_files_.erase(digest);
}

const std::vector<transfer::SourceShare>* Downloads::sources(const Digest& digest) {
    return sources_.find(digest);
}

}  // namespace fastreg::node
