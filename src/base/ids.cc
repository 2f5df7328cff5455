#include "base/ids.h"

namespace fastreg {

std::optional<NodeId> NodeId::parse(std::string_view text) {
    NodeId id;
    if (!from_hex(text, id.bytes)) return std::nullopt;
    return id;
}

}  // namespace fastreg
