// The Fastreg-Member field: a node that passes a request on proves that it is a member of the mesh, for
// this request, to this node, now and once (docs/PROTOCOL.md, "Uploads"). Values; any one thread.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/hash.h"
#include "base/ids.h"
#include "base/result.h"

namespace fastreg::node {

inline constexpr std::string_view kMemberField = "Fastreg-Member";
/// Its value in a mesh without a key: it proves nothing, and says that the request was passed on once.
inline constexpr std::string_view kNoProof = "0";
/// How far the clocks of two nodes may be apart.
inline constexpr std::uint64_t kMemberSkewMs = 60'000;

struct MemberProof {
    NodeId from;  // who passes the request on
    NodeId to;    // who answers it
    std::uint64_t wall_ms = 0;
    std::array<std::byte, 16> nonce{};
};

/// The value of the field for a request: "1 FROM TO MS NONCE MAC", all but MS in hex.
[[nodiscard]] std::string member_field(const Mac& key, std::string_view method, std::string_view target,
                                       const MemberProof& proof);

/// Accepts each proof once.
class MemberGate {
  public:
    MemberGate(const Mac& key, NodeId self, std::size_t remembered_max = 65'536)
        : key_(key), self_(self), remembered_max_(remembered_max) {}

    /// Why the field does not prove what it should, for the log; the requester is not told.
    [[nodiscard]] Status admit(std::string_view field, std::string_view method, std::string_view target,
                               std::uint64_t wall_ms);
    [[nodiscard]] std::size_t remembered() const { return used_.size(); }

  private:
    void forget_old(std::uint64_t wall_ms);

    Mac key_;
    NodeId self_;
    std::size_t remembered_max_;
    std::set<std::pair<std::uint64_t, std::array<std::byte, 16>>> used_;  // by time
    std::uint64_t closed_until_ = 0;  // proofs of this time and before are refused: their nonces are forgotten
};

}  // namespace fastreg::node
