#include "config/key_file.h"

namespace fastreg::config {

Result<std::string> parse_key(std::string_view content) {
    constexpr std::string_view kBlank = " \t\r\n\v\f";
    const auto first = content.find_first_not_of(kBlank);
    if (first == std::string_view::npos) {
        return fail(Errc::invalid_argument,
                    "is empty; copy the key from a member (`fastreg key show` there)");
    }
    const auto key = content.substr(first, content.find_last_not_of(kBlank) - first + 1);
    if (key.size() < kKeyBytesMin) {
        return fail(Errc::invalid_argument,
                    "holds a key of " + std::to_string(key.size()) + " bytes; a key has at least " +
                        std::to_string(kKeyBytesMin) + ": copy it whole from a member");
    }
    if (key.size() > kKeyBytesMax) {
        return fail(Errc::too_large,
                    "holds " + std::to_string(key.size()) + " bytes; a key has at most " +
                        std::to_string(kKeyBytesMax) + ": this is some other file");
    }
    return std::string(key);
}

}  // namespace fastreg::config
