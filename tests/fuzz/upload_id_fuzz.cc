// Any text as an upload id: nobody without the key makes one that is believed.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "registry/uploads.h"

using namespace fastreg;
using namespace fastreg::registry;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (verify_upload_id(text, as_bytes("the key of the fuzzer"), "a/b")) std::abort();
    return 0;
}
