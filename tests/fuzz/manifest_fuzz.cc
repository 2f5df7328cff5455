// Any bytes as a manifest, under each content type.
#include <array>
#include <cstdint>
#include <cstdlib>

#include "registry/answers.h"
#include "registry/manifest.h"

using namespace fastreg;
using namespace fastreg::registry;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteView bytes{reinterpret_cast<const std::byte*>(data), size};
    for (const std::string_view type :
         std::array<std::string_view, 5>{"", kOciManifest, kOciIndex, kDockerList, kOciArtifact}) {
        const auto manifest = parse_manifest(bytes, type);
        if (!manifest) {
            if (manifest.error().message.empty()) std::abort();
            continue;
        }
        if (manifest->media_type.empty()) std::abort();
        const std::array<Referrer, 1> one{make_referrer(*manifest, Digest{}, size)};
        (void)referrers_answer(one);
    }
    return 0;
}
