// A proof of membership is read by whoever reads the wire: it must be good once, here, now, for this request.
#include "node/member_proof.h"

#include <doctest/doctest.h>

#include <vector>

using namespace fastreg;
using namespace fastreg::node;

namespace {

constexpr std::uint64_t kNow = 1'700'000'000'000;
constexpr std::string_view kTarget = "/v2/a/b/blobs/uploads/0123?digest=sha256:00";

NodeId member_id(unsigned char number) {
    NodeId id;
    id.bytes.fill(static_cast<std::byte>(number));
    return id;
}

Mac key_of(unsigned char number) {
    Mac key{};
    key.fill(static_cast<std::byte>(number));
    return key;
}

MemberProof proof_to(NodeId to, unsigned nonce, std::uint64_t wall_ms = kNow) {
    MemberProof proof{member_id(1), to, wall_ms, {}};
    for (std::size_t i = 0; i < 4; ++i) proof.nonce[i] = static_cast<std::byte>(nonce >> (8 * i));
    return proof;
}

std::string field_for(const MemberProof& proof) {
    return member_field(key_of(7), "PATCH", kTarget, proof);
}

struct Owner {
    MemberGate gate{key_of(7), member_id(2)};
    bool admits(std::string_view field, std::string_view method = "PATCH", std::string_view target = kTarget,
                std::uint64_t now = kNow) {
        return gate.admit(field, method, target, now).has_value();
    }
};

}  // namespace

TEST_CASE("a request that a member passes on is taken, once") {
    Owner owner;
    const std::string field = field_for(proof_to(member_id(2), 1));
    CHECK(owner.admits(field));
    for (const std::uint64_t later : {0, 1, 30'000, 60'000, 60'001, 3'600'000}) {
        CHECK_FALSE(owner.admits(field, "PATCH", kTarget, kNow + later));
    }
    CHECK(owner.admits(field_for(proof_to(member_id(2), 2))));  // the same request with a nonce of its own
}

TEST_CASE("a proof is for one method, one target and one node") {
    Owner owner;
    const std::string field = field_for(proof_to(member_id(2), 1));
    CHECK_FALSE(owner.admits(field, "PUT"));
    CHECK_FALSE(owner.admits(field, "PATCH", "/v2/a/b/blobs/uploads/0124?digest=sha256:00"));
    CHECK_FALSE(owner.admits(field, "PATCH", std::string(kTarget) + "&x"));
    CHECK_FALSE(owner.admits(field_for(proof_to(member_id(3), 1))));
    CHECK(owner.gate.remembered() == 0);  // what is refused takes no room
    CHECK(owner.admits(field));           // and does not spoil the true one
}

TEST_CASE("no byte of a proof can be changed") {
    const std::string field = field_for(proof_to(member_id(2), 1));
    for (std::size_t i = 0; i < field.size(); ++i) {
        for (const char other : {'0', '1', 'f', ' ', '-', '\n'}) {
            if (field[i] == other) continue;
            Owner owner;
            std::string changed = field;
            changed[i] = other;
            CAPTURE(changed);
            CHECK_FALSE(owner.admits(changed));
        }
    }
    for (std::size_t length = 0; length < field.size(); ++length) {
        Owner owner;
        CHECK_FALSE(owner.admits(field.substr(0, length)));
    }
    Owner owner;
    CHECK_FALSE(owner.admits(field + " "));
    CHECK_FALSE(owner.admits(field + "00"));
    CHECK_FALSE(owner.admits(std::string(100'000, ' ')));
}

TEST_CASE("another mesh's key proves nothing") {
    Owner owner;
    CHECK_FALSE(owner.admits(member_field(key_of(8), "PATCH", kTarget, proof_to(member_id(2), 1))));
}

TEST_CASE("clocks may differ by a minute, not by more") {
    Owner owner;
    CHECK(owner.admits(field_for(proof_to(member_id(2), 1, kNow - 60'000))));
    CHECK(owner.admits(field_for(proof_to(member_id(2), 2, kNow + 60'000))));
    CHECK_FALSE(owner.admits(field_for(proof_to(member_id(2), 3, kNow - 60'001))));
    CHECK_FALSE(owner.admits(field_for(proof_to(member_id(2), 4, kNow + 60'001))));
    CHECK_FALSE(owner.admits(field_for(proof_to(member_id(2), 5, UINT64_MAX))));
    CHECK_FALSE(owner.admits(field_for(proof_to(member_id(2), 6, 0))));
}

TEST_CASE("a clock that is set back makes no old proof good again") {
    Owner owner;
    const std::string field = field_for(proof_to(member_id(2), 1));
    CHECK(owner.admits(field));
    CHECK(owner.admits(field_for(proof_to(member_id(2), 2, kNow + 200'000)), "PATCH", kTarget, kNow + 200'000));
    CHECK(owner.gate.remembered() == 1);  // the first one's time is over
    CHECK_FALSE(owner.admits(field));
}

TEST_CASE("the memory of nonces is bounded, and what falls out of it is refused") {
    MemberGate gate(key_of(7), member_id(2), 100);
    std::vector<std::string> fields;
    for (unsigned i = 0; i < 1000; ++i) {
        fields.push_back(field_for(proof_to(member_id(2), i, kNow + i)));
        CHECK(gate.admit(fields.back(), "PATCH", kTarget, kNow + i));
        CHECK(gate.remembered() <= 100);
    }
    for (const auto& field : fields) CHECK_FALSE(gate.admit(field, "PATCH", kTarget, kNow + 1000));
}
