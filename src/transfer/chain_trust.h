// Which digest chain of one blob to believe, and who is to blame when it proves wrong. A claim is adopted
// at once from a node that had to make it itself (a complete holder, the one that fetches from
// upstream), else where two claims agree (docs/PROTOCOL.md, "Chain"). A value inside the core.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/grid.h"
#include "base/ids.h"

namespace fastreg::transfer {

class ChainTrust {
  public:
    ChainTrust() = default;
    ChainTrust(HashAlg alg, const ChunkGrid& grid);

    /// The store's own, or links of the own upstream fetch: never doubted.
    void set_own(ByteView links);
    /// S_(chunk+1) of the own fetch; ignored unless its start is known. False when it contradicts
    /// adopted links: these are then dropped and their givers caught, and the own ones stand.
    bool add_own(ChunkIndex chunk, ByteView end_link);

    /// Links of a claim from byte `offset` on; ignored unless they continue what this giver said, or
    /// the giver was caught. `authority`: adopted without a second voice.
    void on_links(const NodeId& giver, bool authority, std::size_t offset, ByteView links);
    /// The byte from which this giver is to be asked on.
    [[nodiscard]] std::size_t known_from(const NodeId& giver) const;
    [[nodiscard]] bool may_give(const NodeId& giver) const { return !caught_.contains(giver); }
    /// Chunks before this index can be checked; the grid's count when the chain is whole.
    [[nodiscard]] ChunkIndex usable_end() const;
    [[nodiscard]] bool usable(ChunkIndex chunk) const { return chunk < usable_end(); }
    [[nodiscard]] bool whole() const { return adopted_.size() == whole_size_; }
    [[nodiscard]] bool own() const { return own_size_ == whole_size_; }
    [[nodiscard]] std::size_t own_size() const { return own_size_; }
    /// Adopted links, from S_1 on.
    [[nodiscard]] ByteView links() const { return adopted_; }
    /// S_chunk; empty for chunk 0.
    [[nodiscard]] ByteView start_of(ChunkIndex chunk) const;
    /// S_(chunk+1); empty for the last chunk.
    [[nodiscard]] ByteView end_of(ChunkIndex chunk) const;

    /// Who gave the adopted links, and whether as an authority; empty when they are own.
    [[nodiscard]] const std::map<NodeId, bool>& givers() const { return givers_; }
    /// Gives up the adopted chain. Those `caught` are not heard again; another claim may be adopted.
    void drop(const std::map<NodeId, bool>& caught);
    /// A claim differs from the adopted links, which are not whole.
    [[nodiscard]] bool contradicted(bool by_authority) const;
    /// Prefers the claims that contradict the adopted links; nobody is caught.
    void set_aside();
    /// Grows when adopted links are given up.
    [[nodiscard]] std::uint32_t generation() const { return generation_; }
    /// True when both links of the chunk are the same in `old_links` as in the adopted ones.
    [[nodiscard]] bool same_links(ByteView old_links, ChunkIndex chunk) const;

  private:
    struct Claim {
        NodeId giver;
        bool authority = false;
        Bytes links;
    };
    static constexpr std::size_t kClaimsMax = 4;

    void adopt();
    void append_own(ByteView end_link);
    void extend(ByteView links);
    void tidy();

    std::size_t link_ = 32;
    ChunkIndex count_ = 1;
    std::size_t whole_size_ = 0;
    Bytes adopted_;
    std::size_t own_size_ = 0;
    std::map<NodeId, bool> givers_;
    std::set<NodeId> caught_;
    std::vector<Claim> claims_;
    std::uint32_t generation_ = 0;
};

}  // namespace fastreg::transfer
