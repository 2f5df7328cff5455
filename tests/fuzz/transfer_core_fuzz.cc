// One transfer core against a hostile swarm and a failing driver: the bytes choose who says what, when,
// and how each fetch and serve ends. What the core asks for must stay inside its limits.
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "base/result.h"
#include "script.h"
#include "transfer/transfer.h"

namespace {

using namespace fastreg;
using namespace fastreg::transfer;
using fuzz::Script;

constexpr ChunkIndex kChunks = 12;
constexpr std::uint64_t kSize = kChunks * kChunkSizeMin - 5;

struct Store : LocalBlobs {
    std::optional<std::uint64_t> complete_size(const Digest& digest) const override {
        if (digest.value[0] == std::byte{3}) return kSize;
        return {};
    }
};

NodeId node_of(std::uint8_t b) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(b % 8 + 1);
    return id;
}

Digest digest_of(std::uint8_t b) {
    Digest digest;
    digest.value[0] = static_cast<std::byte>(b % 4);  // 0..2 are downloaded, 3 is here
    return digest;
}

std::uint64_t size_of(std::uint8_t b) { return b % 8 == 0 ? kSize + b : kSize; }

/// One of three chains: two nodes may agree or not.
Bytes links_of(std::uint8_t version, std::size_t from, std::size_t count) {
    Bytes links;
    for (std::size_t i = from; i < from + count && i + 1 < kChunks; ++i) {
        links.insert(links.end(), 32, static_cast<std::byte>(i + (version % 3 == 0 && i > 5 ? 100 : 0)));
    }
    return links;
}

wire::TransferMessage message_from(Script& script) {
    const std::uint8_t kind = script.byte();
    const Digest digest = digest_of(script.byte());
    const std::uint8_t a = script.byte();
    const std::uint8_t b = script.byte();
    switch (kind % 12) {
        case 0: return wire::GetChunk{a, digest, size_of(b), static_cast<ChunkIndex>(b % 14), a % 2 == 0};
        case 1: return wire::Cancel{a};
        case 2: return wire::Busy{a, digest, {node_of(b), node_of(a)}};
        case 3: return wire::NotHere{a, digest, b % 2 == 0};
        case 4: return wire::Interest{digest, b % 3 == 0 ? 0 : size_of(b), a % 3U};
        case 5:
        case 6: {
            wire::Map map;
            map.digest = digest;
            map.size = size_of(b);
            map.complete = a % 3 == 0;
            map.offering = a % 7 == 0;
            map.first_hand = a % 5 == 0;
            map.chunks = ChunkMap(ChunkGrid(map.size).count(), map.complete);
            if (!map.complete) map.chunks.set(b % map.chunks.count());
            return map;
        }
        case 7: return wire::Have{digest, {static_cast<ChunkIndex>(a % 13), static_cast<ChunkIndex>(b % 13)}};
        case 8: return wire::ChainRequest{digest, size_of(b), static_cast<std::uint32_t>(a * 16)};
        case 9:
            return wire::ChainPage{digest, size_of(b), static_cast<std::uint32_t>(a % 12) * 32,
                                   links_of(b, a % 12, b % 13)};
        case 10: return wire::Offer{digest, size_of(b), static_cast<ChunkIndex>(a % 14)};
        default: return wire::Done{digest};
    }
}

class Driver {
  public:
    Driver() : core_(node_of(7), "z", Options{}, store_, Rng(1)) {}

    void step(Script& script) {
        const std::uint8_t what = script.byte();
        const std::uint8_t a = script.byte();
        now_ = now_ + Duration(std::int64_t{script.byte()} * script.byte() * 100'000);
        const Digest digest = digest_of(a % 3);
        switch (what % 16) {
            case 0:
                core_.want(now_, digest, a % 4 == 0 ? std::nullopt : std::optional(kSize), {}, {}, out_);
                break;
            case 1: {
                std::vector<Holder> holders;
                for (std::uint8_t i = 0; i < a % 9; ++i) holders.push_back({node_of(i), script.byte() % 2 == 0});
                core_.on_holders(now_, digest, {}, holders, out_);
                break;
            }
            case 2: core_.on_link_down(now_, node_of(a), out_); break;
            case 3: core_.cancel(now_, digest, out_); break;
            case 4: core_.add_reader(now_, digest, a, a * 1000ULL, a * 9000ULL, out_); break;
            case 5: core_.move_reader(now_, digest, a, a * 5000ULL, out_); break;
            case 6: core_.drop_reader(now_, digest, a, out_); break;
            case 7: end_fetch(script); break;
            case 8: end_fetch(script); break;
            case 9: end_serve(script); break;
            case 10:
                core_.on_first_hand(now_, digest, a % kChunks, links_of(script.byte(), a % kChunks, 1), out_);
                break;
            case 11: core_.on_complete_blob(now_, digest, kSize, out_); break;
            case 12: core_.on_blob_gone(now_, digest_of(a), out_); break;
            default: core_.on_message(now_, node_of(a), message_from(script), out_); break;
        }
        if (core_.next_deadline() <= now_) core_.on_deadline(now_, out_);
        drain();
    }

  private:
    void end_fetch(Script& script) {
        if (fetches_.empty()) return;
        const auto it = std::next(fetches_.begin(),
                                  static_cast<std::ptrdiff_t>(script.byte() % fetches_.size()));
        const FetchChunk fetch = it->second;
        const std::uint8_t how = script.byte();
        if (how % 4 == 0) {
            core_.on_bytes(now_, fetch.from, fetch.request, how * 1024ULL);
            return;
        }
        fetches_.erase(it);
        const auto outcome = how < 160 ? ChunkOutcome::stored : static_cast<ChunkOutcome>(how % 7);
        core_.on_chunk(now_, fetch.from, fetch.request, fetch.digest, fetch.chunk, {outcome, how}, out_);
    }

    void end_serve(Script& script) {
        if (serves_.empty()) return;
        const ServeChunk serve = serves_.back();
        const std::uint8_t how = script.byte();
        if (how % 4 == 0) {
            core_.on_serve_blocked(now_, serve.to, serve.request, how % 8 == 0, out_);
            return;
        }
        serves_.pop_back();
        core_.on_served(now_, serve.to, serve.request, how % 5 != 0, out_);
    }

    void drain() {
        while (!out_.empty()) {
            Outbox actions;
            actions.swap(out_);
            for (const Action& action : actions) handle(action);
        }
        const Options options;
        FR_ASSERT(fetches_.size() <= 2 * options.outstanding_max);
        FR_ASSERT(serves_.size() <= 4096);
    }

    void handle(const Action& action) {
        if (const auto* fetch = std::get_if<FetchChunk>(&action)) {
            FR_ASSERT(fetch->chunk < ChunkGrid(fetch->size).count());
            FR_ASSERT(fetch->start_link.size() == (fetch->chunk == 0 ? 0U : 32U));
            FR_ASSERT(fetches_.emplace(fetch->request, *fetch).second);
        } else if (const auto* cancel = std::get_if<CancelFetch>(&action)) {
            fetches_.erase(cancel->request);
        } else if (const auto* serve = std::get_if<ServeChunk>(&action)) {
            FR_ASSERT(serve->offset + serve->length <= serve->size);
            serves_.push_back(*serve);
        } else if (const auto* open = std::get_if<OpenPartial>(&action)) {
            core_.on_opened(now_, open->digest, {}, {}, out_);
        } else if (const auto* chain = std::get_if<NeedChain>(&action)) {
            core_.on_chain(now_, chain->digest, fail(Errc::not_found, "none"), out_);
        } else if (const auto* send = std::get_if<Send>(&action)) {
            FR_ASSERT(wire::to_frame(send->message).body.size() <= wire::kFrameBodyMax);
        } else if (const auto* progress = std::get_if<Progress>(&action)) {
            FR_ASSERT(progress->verified_prefix <= kSize + 256);
        }
    }

    Store store_;
    Transfer core_;
    Outbox out_;
    Instant now_{1'000'000'000};
    std::map<RequestId, FetchChunk> fetches_;
    std::vector<ServeChunk> serves_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size > 8192) return 0;
    Script script(data, size);
    Driver driver;
    while (!script.done()) driver.step(script);
    return 0;
}
