#include "wire/node.h"

#include "base/grid.h"
#include "wire/pack.h"

namespace fastreg::wire {

namespace {

constexpr std::uint8_t kHomeRequest = 0x60;
constexpr std::uint8_t kHomeReply = 0x61;

enum RequestKey { kHomeDigest = 1, kHomeSize = 2 };
enum ReplyKey { kHomeKept = 1, kHomeText = 2, kHomeLeaving = 3 };

Frame encode_one(const HomeRequest& m) {
    MapWriter body;
    body.put(kHomeDigest, m.digest).put(kHomeSize, m.size);
    return {kHomeRequest, 0, m.request, body.finish()};
}

Frame encode_one(const HomeReply& m) {
    MapWriter body;
    body.put_bool(kHomeKept, m.kept)
        .put(kHomeText, std::string_view(m.text).substr(0, kHomeTextMax));
    if (m.leaving) body.put_bool(kHomeLeaving, true);
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
        body.require(kHomeDigest);
        HomeRequest m{frame.request, body.digest(kHomeDigest), body.number(kHomeSize, 0, kBlobSizeMax)};
        FR_TRY(body.status());
        return NodeMessage(std::move(m));
    }
    HomeReply m{frame.request, body.boolean(kHomeKept), std::string(body.text(kHomeText, kHomeTextMax)),
                body.boolean(kHomeLeaving)};
    FR_TRY(body.status());
    return NodeMessage(std::move(m));
}

}  // namespace fastreg::wire
