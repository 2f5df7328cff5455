#include "node/member_proof.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

namespace fastreg::node {

namespace {

constexpr std::string_view kVersion = "1";

/// What the key vouches for. No part can hold a line feed, so that no two requests have one text.
std::string proven_text(std::string_view method, std::string_view target, const MemberProof& proof) {
    std::string text = "fastreg member 1\n";
    text.append(method).append("\n").append(target).append("\n");
    text += proof.from.str() + "\n" + proof.to.str() + "\n" + std::to_string(proof.wall_ms) + "\n" +
            to_hex(proof.nonce);
    return text;
}

std::vector<std::string_view> words_of(std::string_view field) {
    std::vector<std::string_view> words;
    while (words.size() < 7) {
        const std::size_t space = field.find(' ');
        words.push_back(field.substr(0, space));
        if (space == std::string_view::npos) break;
        field.remove_prefix(space + 1);
    }
    return words;
}

Status refused(std::string why) {
    return fail(Errc::permission_denied, std::move(why));
}

}  // namespace

std::string member_field(const Mac& key, std::string_view method, std::string_view target,
                         const MemberProof& proof) {
    return std::string(kVersion) + " " + proof.from.str() + " " + proof.to.str() + " " +
           std::to_string(proof.wall_ms) + " " + to_hex(proof.nonce) + " " +
           to_hex(hmac_sha256(key, as_bytes(proven_text(method, target, proof))));
}

Status MemberGate::admit(std::string_view field, std::string_view method, std::string_view target,
                         std::uint64_t wall_ms) {
    const auto words = words_of(field);
    if (words.size() != 6 || words[0] != kVersion) return refused("the field has another form");
    MemberProof proof;
    const auto from = NodeId::parse(words[1]);
    const auto to = NodeId::parse(words[2]);
    const auto [end, wrong] =
        std::from_chars(words[3].data(), words[3].data() + words[3].size(), proof.wall_ms);
    Mac mac{};
    if (!from || !to || wrong != std::errc{} || end != words[3].data() + words[3].size() ||
        !from_hex(words[4], proof.nonce) || !from_hex(words[5], mac)) {
        return refused("the field has another form");
    }
    proof.from = *from;
    proof.to = *to;
    if (!equal_constant_time(mac, hmac_sha256(key_, as_bytes(proven_text(method, target, proof))))) {
        return refused("the proof is of another key or another request");
    }
    if (proof.to != self_) return refused("the proof is for node " + proof.to.brief());
    const std::uint64_t apart = proof.wall_ms > wall_ms ? proof.wall_ms - wall_ms : wall_ms - proof.wall_ms;
    if (apart > kMemberSkewMs) {
        return refused("the clock of node " + proof.from.brief() + " and this one's are " +
                       std::to_string(apart / 1000) + " s apart, or an old request is repeated");
    }
    forget_old(wall_ms);
    if (proof.wall_ms <= closed_until_) return refused("the proof is too old");
    if (!used_.emplace(proof.wall_ms, proof.nonce).second) return refused("the proof was used before");
    if (used_.size() > remembered_max_) {
        closed_until_ = used_.begin()->first;
        forget_old(wall_ms);
    }
    return {};
}

void MemberGate::forget_old(std::uint64_t wall_ms) {
    if (wall_ms > kMemberSkewMs) {
        // A clock that is set back must not make old proofs good again.
        closed_until_ = std::max(closed_until_, wall_ms - kMemberSkewMs - 1);
    }
    while (!used_.empty() && used_.begin()->first <= closed_until_) used_.erase(used_.begin());
}

}  // namespace fastreg::node
