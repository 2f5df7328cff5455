// Any text as a digest, an address, a node id and a log level: what is taken prints as it was read.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/endpoint.h"
#include "base/ids.h"
#include "base/log.h"

using namespace fastreg;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto digest = Digest::parse(text); digest && digest->str() != text) std::abort();
    if (const auto endpoint = Endpoint::parse(text)) {
        const auto again = Endpoint::parse(endpoint->str());
        if (!again || *again != *endpoint) std::abort();
    }
    if (const auto id = NodeId::parse(text); id && id->str() != text) std::abort();
    for (const auto format : {log::Format::text, log::Format::json}) {
        const std::string line = log::format_line(format, log::Level::info, 0, "fuzz", {{"v", text}});
        for (const char c : line) {
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) std::abort();
        }
    }
    return 0;
}
