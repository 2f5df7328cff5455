// One gossip core against a hostile mesh: the bytes choose who says what, when, and what the network
// does. After every event the core's parts must agree and what it sends must fit a frame.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "gossip/gossip.h"
#include "script.h"

namespace {

using namespace fastreg;
using namespace fastreg::gossip;
using fuzz::Script;

/// Small values mostly, and now and then one at a limit.
std::uint64_t number_from(Script& script) {
    const std::uint8_t b = script.byte();
    if (b < 0xf0) return b % 6;
    switch (b % 6) {
        case 0: return wire::kFinalIncarnation;
        case 1: return wire::kFinalIncarnation - 1;
        case 2: return UINT64_MAX;
        case 3: return 65'537;
        case 4: return std::uint64_t{1} << 41U;
        default: return script.byte() * 1'000ULL;
    }
}

constexpr std::uint8_t kNodes = 12;  // 0 is the core itself

NodeId id_of(std::uint8_t n) {
    NodeId id;
    id.bytes.fill(std::byte{static_cast<std::uint8_t>(n % kNodes + 1)});
    return id;
}

Endpoint address_of(std::uint8_t n) {
    return {"10.0.0." + std::to_string(n % kNodes), 7946};
}

wire::Claim claim_from(Script& script) {
    wire::Claim claim;
    const std::uint8_t n = script.byte();
    claim.subject.id = id_of(n);
    claim.subject.boot_epoch = number_from(script);
    claim.subject.incarnation = number_from(script);
    claim.subject.state = static_cast<MemberState>(script.byte() % 7);
    claim.from = script.byte() % 2 == 0 ? claim.subject.id : id_of(script.byte());
    if (script.byte() % 4 != 0) claim.subject.gossip = address_of(script.byte() % 8 == 0 ? script.byte() : n);
    return claim;
}

std::vector<wire::Claim> claims_from(Script& script) {
    std::vector<wire::Claim> claims;
    for (int count = script.byte() % 5; count > 0; --count) claims.push_back(claim_from(script));
    return claims;
}

wire::GossipMessage message_from(Script& script, std::uint8_t from) {
    wire::GossipMessage message;
    wire::Claim self = claim_from(script);
    if (script.byte() % 8 != 0) {
        self.subject.id = self.from = id_of(from);
        if (!self.full()) self.subject.gossip = address_of(from);
    }
    switch (script.byte() % 9) {
        case 0: message.body = wire::Ping{number_from(script), id_of(script.byte() % 3), self}; break;
        case 1: message.body = wire::Ack{number_from(script)}; break;
        case 2:
            message.body = wire::PingRequest{number_from(script), id_of(script.byte()), address_of(script.byte())};
            break;
        case 3: message.body = wire::Nack{number_from(script)}; break;
        case 4: message.body = wire::Updates{}; break;
        case 5: {
            wire::SyncDigest digest;
            digest.hashes[script.byte()] = script.byte();
            message.body = digest;
            break;
        }
        case 6:
            message.body = wire::SyncBuckets{{script.byte(), script.byte()}, claims_from(script),
                                             script.byte() % 2 == 0};
            break;
        case 7: message.body = wire::Join{self, script.byte()}; break;
        default: message.body = wire::JoinReply{self, claims_from(script), number_from(script)}; break;
    }
    message.updates = claims_from(script);
    return message;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Script script(data, std::min<std::size_t>(size, 4'096));
    Options options;
    options.members_max = 8;  // fewer than there are nodes
    Instant now{0};
    Outbox out;
    Self self{id_of(0), 2, "fuzz", "z", address_of(0), {}, {}, {}};
    Gossip core(self, options, Rng(1));
    core.start(now, {address_of(1), address_of(0)}, {}, out);
    while (!script.done()) {
        const std::uint8_t what = script.byte();
        const std::uint8_t who = script.byte();
        switch (what % 16) {
            case 0: core.on_link_up(now, id_of(who), out); break;
            case 1: core.on_link_down(now, id_of(who), out); break;
            case 2: core.on_send_failed(now, id_of(who), address_of(who), who % 2 == 0, out); break;
            case 3: core.on_wrong_peer(now, id_of(who), address_of(who), id_of(script.byte()), out); break;
            case 4: core.add_seed(now, address_of(who), out); break;
            case 5:
                if (who == 7) core.leave(now, out);
                if (who == 8) core.stop(now, out);
                if (who == 9) core.renew(now, core.self().boot_epoch + 1, out);
                if (who == 10) core.update_self(now, self, out);
                break;
            case 6: now = now + 7h; [[fallthrough]];
            case 7:
            case 8:
            case 9: {
                now = now + Duration{std::int64_t{who} * 20'000'000};
                core.on_deadline(now, out);
                break;
            }
            default: core.on_message(now, id_of(who), message_from(script, who), out); break;
        }
        for (const Action& action : out) {
            const auto* send = std::get_if<Send>(&action);
            if (send == nullptr) continue;
            FR_ASSERT(!send->address.empty());
            FR_ASSERT(send->to != core.self().id);
            const auto again = wire::decode_gossip(wire::encode(send->message));
            FR_ASSERT(again.has_value());
        }
        out.clear();
        const auto broken = core.broken_invariant();
        FR_ASSERT(!broken);
        FR_ASSERT(core.next_deadline() > now - 1h);
    }
    return 0;
}
