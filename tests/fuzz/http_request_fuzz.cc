// Any bytes, cut anywhere: the parser must say the same as for the whole, and never more than it
// got.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "http/parser.h"

using namespace fastreg;
using namespace fastreg::http;

namespace {

// What was said, without where bodies were cut.
std::string run(ByteView input, std::size_t step) {
    Parser parser;
    std::string said;
    bool in_body = false;
    while (true) {
        const ParseStep got = parser.feed(input.first(step < input.size() ? step : input.size()));
        if (got.consumed > input.size()) std::abort();
        input = input.subspan(got.consumed);
        if (std::holds_alternative<BadMessage>(got.event)) {
            return said + "bad" + std::to_string(std::get<BadMessage>(got.event).status);
        }
        if (const auto* body = std::get_if<BodyData>(&got.event)) {
            if (!in_body) said += 'b';
            in_body = true;
            said += as_text(body->bytes);
            continue;
        }
        if (const auto* head = std::get_if<HeadDone>(&got.event)) {
            if (head->request.path.find('\0') != std::string::npos) std::abort();
            said += 'h' + head->request.path;
        }
        if (std::holds_alternative<MessageDone>(got.event)) said += 'm';
        if (!std::holds_alternative<NeedMore>(got.event)) {
            in_body = false;
        } else if (input.empty()) {
            return said;
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const ByteView input{reinterpret_cast<const std::byte*>(data + 1), size - 1};
    if (run(input, SIZE_MAX) != run(input, 1U + data[0] % 7U)) std::abort();
    return 0;
}
