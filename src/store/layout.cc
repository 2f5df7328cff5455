#include "store/layout.h"

#include <array>

namespace fastreg::store {

Layout::Layout(std::string dir) : dir_(std::move(dir)) {
    while (dir_.size() > 1 && dir_.back() == '/') dir_.pop_back();
}

std::string Layout::blobs(HashAlg alg) const {
    return blobs() + "/" + std::string(name_of(alg));
}

std::string Layout::shelf(HashAlg alg, unsigned first_byte) const {
    const std::array<std::byte, 1> byte{static_cast<std::byte>(first_byte)};
    return blobs(alg) + "/" + to_hex(byte);
}

std::string Layout::shelf(const Digest& digest) const {
    return shelf(digest.alg, std::to_integer<unsigned>(digest.value[0]));
}

std::string Layout::blob(const Digest& digest) const {
    return shelf(digest) + "/" + digest.hex();
}

std::string Layout::partial(const Digest& digest) const {
    return partials() + "/" + std::string(name_of(digest.alg)) + "-" + digest.hex();
}

std::string Layout::temporary(std::string_view kind, std::string_view hex) const {
    return partials() + "/" + std::string(kind) + "-" + std::string(hex);
}

std::optional<Digest> Layout::parse_partial(std::string_view name) {
    const auto dash = name.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    auto digest = Digest::parse(std::string(name.substr(0, dash)) + ":" +
                                std::string(name.substr(dash + 1)));
    if (!digest) return std::nullopt;
    return *digest;
}

}  // namespace fastreg::store
