// The numbers of the transfer rules (docs/PROTOCOL.md, "Transfer"). docs/decisions/0012-numbers-of-the-transfer.md says
// which come from the study, which were measured since, and which are guesses. A value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/instant.h"

namespace fastreg::transfer {

struct Options {
    // Neighbours of one blob.
    std::size_t dial = 10;             // we ask so many
    std::size_t neighbours_max = 20;   // and let as many again ask us
    std::size_t seed_neighbours_max = 50;  // of a complete blob

    // Receiver.
    std::size_t outstanding_base = 4;  // O = base + round(3 RTT / tau), in total
    std::size_t outstanding_max = 64;
    std::size_t per_peer = 2;  // unless there are at most two sources
    std::uint32_t window = 8;  // chunks ahead of a reader
    Duration rtt_guess = 500us;  // before the first measurement

    // Uploader.
    std::size_t upload_slots = 4;      // active and not blocked
    std::size_t upload_slots_max = 8;  // with blocked and urgent ones
    std::size_t waiting_per_peer = 32;  // while at most two peers ask
    std::size_t inbound_max = 64;      // requests of one peer, waiting or active
    std::size_t chain_cache = 64;

    // First source.
    std::size_t offer_from = 3;    // downloaders that make offering worth it
    std::size_t offers_open = 6;   // in total; 4, 9 and more cost 0.4-4 % with 16-32 nodes

    // Silence, hedges, failure.
    Duration silent_after = 400ms;  // no byte on outstanding work: move it
    Duration drop_after = 2s;       // and close the link
    Duration hedge_floor = 150ms;
    double hedge_share = 0.05;
    double endgame_share = 0.03;
    std::uint32_t endgame_chunks = 8;
    Duration have_batch_max = 50ms;
    Duration lookup_first = 500ms;  // back-off of repeated look-ups
    Duration lookup_max = 5s;
    Duration no_source_timeout = 10s;  // without progress
    Duration quarantine_first = 30s;
    Duration quarantine_max = 600s;
    std::size_t downloads_max = 4096;
};

}  // namespace fastreg::transfer
