// One transfer core for tests: its store, what it asked for, and peers that are played by hand.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>

#include "transfer/transfer.h"

namespace fastreg::transfer {

struct Store : LocalBlobs {
    std::optional<std::uint64_t> complete_size(const Digest&) const override { return size; }
    std::optional<std::uint64_t> size;
};

inline NodeId node(unsigned n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
}

/// One core, its store, and what it asked for.
struct CoreRig {
    explicit CoreRig(ChunkIndex chunks = 16)
        : grid(chunks * kChunkSizeMin), core(node(200), "z", Options{}, store, Rng(1)) {
        digest.value[0] = std::byte{1};
        Bytes links((grid.count() - 1) * 32);
        for (std::size_t i = 0; i < links.size(); ++i) links[i] = static_cast<std::byte>(i / 32);
        chain = *Chain::from_bytes(HashAlg::sha256, grid, links);
    }

    Store store;
    ChunkGrid grid;
    Digest digest;
    Chain chain;
    Transfer core;
    Outbox out;
    Instant now{1'000'000'000};

    template <class T>
    std::vector<T> all() const {
        std::vector<T> found;
        for (const Action& action : out) {
            if (const auto* match = std::get_if<T>(&action)) found.push_back(*match);
        }
        return found;
    }
    template <class T>
    std::vector<std::pair<NodeId, T>> sent() const {
        std::vector<std::pair<NodeId, T>> found;
        for (const Send& send : all<Send>()) {
            if (const auto* match = std::get_if<T>(&send.message)) found.emplace_back(send.to, *match);
        }
        return found;
    }
    void start(bool with_chain = true, ChunkMap have = {}) {
        core.want(now, digest, grid.blob_size(), {}, with_chain ? std::optional(chain) : std::nullopt, out);
        core.on_opened(now, digest, {}, std::move(have), out);
    }
    void source(unsigned n, std::optional<ChunkMap> has = {}) {
        core.on_holders(now, digest, {}, {{node(n), !has}}, out);
        map(n, grid.blob_size(), std::move(has));
    }
    void map(unsigned n, std::uint64_t size, std::optional<ChunkMap> has = {}) {
        wire::Map map;
        map.digest = digest;
        map.size = size;
        map.complete = !has;
        map.chunks = has ? *has : ChunkMap(ChunkGrid(size).count(), true);
        core.on_message(now, node(n), map, out);
    }
    void arrive(const FetchChunk& fetch, ChunkOutcome outcome = ChunkOutcome::stored, Road road = Road::tcp) {
        core.on_chunk(now, fetch.from, fetch.request, digest, fetch.chunk,
                      {outcome, grid.size_of(fetch.chunk), road}, out);
    }
    void wait(Duration span) {
        const Instant end = now + span;
        while (core.next_deadline() <= end) {
            now = std::max(now, core.next_deadline());
            core.on_deadline(now, out);
        }
        now = end;
    }
    /// Answers every FetchChunk of an honest source until nothing is asked any more.
    void finish() {
        for (std::size_t i = 0; i < out.size(); ++i) {
            const Action action = out[i];
            if (const auto* fetch = std::get_if<FetchChunk>(&action)) arrive(*fetch);
        }
    }
};

}  // namespace fastreg::transfer
