// The one file that opens up a hash: OpenSSL's low-level SHA-2 shows its state words, EVP does not.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/chain.h"

#include <openssl/sha.h>

#include <algorithm>
#include <utility>
#include <variant>

namespace fastreg {

namespace {

/// SHA-2 that can be left and entered at any multiple of its block size.
template <class Context, auto init, auto fold, auto final>
class OpenHash {
    using Word = std::remove_extent_t<decltype(Context::h)>;

  public:
    OpenHash() { init(&context_); }

    /// Goes on as if `before` bytes had been folded in and had left `link` behind.
    void enter(ByteView link, std::uint64_t before) {
        for (auto& word : context_.h) {
            for (std::size_t i = 0; i < sizeof(Word); ++i) {
                word = static_cast<Word>(word << 8U) | std::to_integer<Word>(link[i]);
            }
            link = link.subspan(sizeof(Word));
        }
        const std::uint64_t bits = before * 8;  // a blob has at most 2^43
        context_.Nl = static_cast<Word>(bits);
        context_.Nh = sizeof(Word) == 4 ? static_cast<Word>(bits >> 32U) : 0;
    }

    void update(ByteView data) { fold(&context_, data.data(), data.size()); }

    /// The state words, at a multiple of the block size.
    void leave(Bytes& out) const {
        for (const Word word : context_.h) {
            for (std::size_t i = sizeof(Word); i > 0; --i) {
                out.push_back(static_cast<std::byte>(word >> (8 * (i - 1))));
            }
        }
    }

    /// Pads; nothing may follow.
    void finish(Digest& out) {
        final(reinterpret_cast<unsigned char*>(out.value.data()), &context_);
    }

  private:
    Context context_{};
};

using OpenSha256 = OpenHash<SHA256_CTX, SHA256_Init, SHA256_Update, SHA256_Final>;
using OpenSha512 = OpenHash<SHA512_CTX, SHA512_Init, SHA512_Update, SHA512_Final>;

class OpenSha {
  public:
    explicit OpenSha(HashAlg alg) : alg_(alg) {
        if (alg == HashAlg::sha512) hash_.emplace<OpenSha512>();
    }
    void enter(ByteView link, std::uint64_t before) {
        std::visit([&](auto& hash) { hash.enter(link, before); }, hash_);
    }
    void update(ByteView data) {
        std::visit([&](auto& hash) { hash.update(data); }, hash_);
    }
    void leave(Bytes& out) const {
        std::visit([&](const auto& hash) { hash.leave(out); }, hash_);
    }
    [[nodiscard]] Digest finish() {
        Digest digest{alg_, {}};
        std::visit([&](auto& hash) { hash.finish(digest); }, hash_);
        return digest;
    }

  private:
    HashAlg alg_;
    std::variant<OpenSha256, OpenSha512> hash_;
};

}  // namespace

Result<Chain> Chain::from_bytes(HashAlg alg, const ChunkGrid& grid, Bytes links) {
    const std::size_t expected = (std::size_t{grid.count()} - 1) * link_size(alg);
    if (links.size() != expected) {
        return fail(Errc::corrupt, "digest chain of a blob of " + std::to_string(grid.count()) +
                                       " chunks has " + std::to_string(links.size()) +
                                       " bytes instead of " + std::to_string(expected));
    }
    Chain chain;
    chain.alg_ = alg;
    chain.links_ = std::move(links);
    return chain;
}

ByteView Chain::state_before(ChunkIndex i) const {
    const std::size_t end = i * link_size(alg_);
    FR_ASSERT(end <= links_.size() + link_size(alg_));
    if (i == 0 || end > links_.size()) return {};
    return ByteView(links_).subspan(end - link_size(alg_), link_size(alg_));
}

struct ChunkHasher::State {
    Digest digest;
    std::uint64_t size;
    bool last;
    OpenSha sha;
    std::uint64_t fed = 0;
};

ChunkHasher::ChunkHasher(const Digest& digest, const ChunkGrid& grid, ChunkIndex index,
                         ByteView start)
    : state_(new State{digest, grid.size_of(index), grid.is_last(index), OpenSha(digest.alg)}) {
    if (index == 0) return;
    FR_ASSERT(start.size() == link_size(digest.alg));
    state_->sha.enter(start, grid.offset_of(index));
}

ChunkHasher::~ChunkHasher() = default;
ChunkHasher::ChunkHasher(ChunkHasher&&) noexcept = default;
ChunkHasher& ChunkHasher::operator=(ChunkHasher&&) noexcept = default;

void ChunkHasher::update(ByteView data) {
    state_->fed += data.size();
    if (state_->fed <= state_->size) state_->sha.update(data);  // too much is wrong whatever it is
}

std::uint64_t ChunkHasher::fed() const {
    return state_->fed;
}

bool ChunkHasher::holds(ByteView end) {
    if (state_->fed != state_->size) return false;
    if (state_->last) return state_->sha.finish() == state_->digest;
    return std::ranges::equal(reached(), end);
}

Bytes ChunkHasher::reached() const {
    FR_ASSERT(state_->fed == state_->size && !state_->last);
    Bytes link;
    link.reserve(64);
    state_->sha.leave(link);
    return link;
}

bool chunk_holds(const Digest& digest, const ChunkGrid& grid, const Chain& chain, ChunkIndex index,
                 ByteView data) {
    ChunkHasher hasher(digest, grid, index, chain.state_before(index));
    hasher.update(data);
    return hasher.holds(chain.state_before(index + 1));
}

struct ChainBuilder::State {
    explicit State(HashAlg a) : alg(a), sha(a) {}

    HashAlg alg;
    OpenSha sha;
    std::uint64_t size = 0;
    std::uint64_t spacing = kChunkSizeMin;  // of the links kept; follows the grid of `size`
    Bytes links;

    void drop_every_other_link() {
        const std::size_t width = link_size(alg);
        std::size_t kept = 0;
        for (std::size_t from = width; from + width <= links.size(); from += 2 * width) {
            std::copy_n(links.data() + from, width, links.data() + kept);
            kept += width;
        }
        links.resize(kept);
        spacing *= 2;
    }
};

ChainBuilder::ChainBuilder(HashAlg alg) : state_(std::make_unique<State>(alg)) {}
ChainBuilder::~ChainBuilder() = default;
ChainBuilder::ChainBuilder(ChainBuilder&&) noexcept = default;
ChainBuilder& ChainBuilder::operator=(ChainBuilder&&) noexcept = default;

void ChainBuilder::update(ByteView data) {
    State& s = *state_;
    while (!data.empty()) {
        const auto room = s.spacing - s.size % s.spacing;
        const ByteView piece = data.first(std::min<std::size_t>(data.size(), room));
        s.sha.update(piece);
        s.size += piece.size();
        data = data.subspan(piece.size());
        if (piece.size() == room) s.sha.leave(s.links);
        if (s.spacing < chunk_size_for(s.size)) s.drop_every_other_link();
    }
}

std::uint64_t ChainBuilder::size() const {
    return state_->size;
}

ChainBuilder::Result ChainBuilder::finish() {
    State& s = *state_;
    const ChunkGrid grid(s.size);
    s.links.resize((std::size_t{grid.count()} - 1) * link_size(s.alg));  // a link at the very end
    auto chain = Chain::from_bytes(s.alg, grid, std::move(s.links));
    return {s.sha.finish(), grid, *std::move(chain)};
}

}  // namespace fastreg
