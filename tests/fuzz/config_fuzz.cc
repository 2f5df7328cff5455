// Any bytes as a configuration file, and as the value of each key: an answer or an error, and a
// value that is taken prints as text that is taken back.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "config/config.h"
#include "config/keys.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace fastreg::config;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    Sources sources;
    sources.file_name = "fuzz.toml";
    sources.machine = {true, "host", "/root", ""};
    sources.file_text = std::string(text);
    (void)load(sources);

    for (const Key& key : keys()) {
        Config config;
        if (!assign(key, text, config)) continue;
        Config again;
        if (!assign(key, print(key, config), again) || !(again == config)) std::abort();
    }
    return 0;
}
