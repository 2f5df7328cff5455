#include "wire/node.h"

#include "base/grid.h"
#include "wire/pack.h"

namespace fastreg::wire {

namespace {

constexpr std::uint8_t kHomeRequest = 0x60;
constexpr std::uint8_t kHomeReply = 0x61;

enum RequestKey { kDigest = 1, kSize = 2 };
enum ReplyKey { kKept = 1, kText = 2 };

Frame encode_one(const HomeRequest& m) {
    MapWriter body;
    body.put(kDigest, m.digest).put(kSize, m.size);
    return {kHomeRequest, 0, m.request, body.finish()};
}

Frame encode_one(const HomeReply& m) {
    MapWriter body;
    body.put_bool(kKept, m.kept)
        .put(kText, std::string_view(m.text).substr(0, kHomeTextMax));
    return {kHomeReply, 0, m.request, body.finish()};
}

}  // namespace

Frame encode(const NodeMessage& message) {
    return std::visit([](const auto& m) { return encode_one(m); }, message);
}

Result<NodeMessage> decode_node(const Frame& frame) {
    if (frame.type != kHomeRequest && frame.type != kHomeReply) {
        return fail(Errc::unsupported, "unknown frame type of the node family");
    }
    FR_TRY_ASSIGN(auto body, MapReader::parse(frame.body));
    if (frame.type == kHomeRequest) {
        body.require(kDigest);
        HomeRequest m{frame.request, body.digest(kDigest), body.number(kSize, 0, kBlobSizeMax)};
        FR_TRY(body.status());
        return NodeMessage(std::move(m));
    }
    HomeReply m{frame.request, body.boolean(kKept), std::string(body.text(kText, kHomeTextMax))};
    FR_TRY(body.status());
    return NodeMessage(std::move(m));
}

}  // namespace fastreg::wire
