// The one list of configuration keys. It drives the TOML reader, the environment, the flags, the
// help texts, the default file and `config check`. Constant data; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace fastreg::config {

/// What a value looks like in text.
enum class Type : std::uint8_t {
    text,
    path,
    boolean,    // true, false
    gate,       // allow, deny
    endpoint,   // HOST:PORT
    endpoints,  // a list of HOST:PORT
    address,    // a numeric address without a port
    count,
    size,      // bytes: 512KiB, 10GiB, 4096
    share,     // a size, or a percentage of the file system: 80%
    duration,  // 500ms, 30s, 5m, 1h, 2d
    log_level,
    log_format,
};

/// Reaches the field of a key. One alternative a C++ type.
using Field = std::variant<std::string& (*)(Config&), bool& (*)(Config&), Gate& (*)(Config&),
                           Endpoint& (*)(Config&), std::vector<Endpoint>& (*)(Config&),
                           std::uint64_t& (*)(Config&), Share& (*)(Config&),
                           Duration& (*)(Config&), log::Level& (*)(Config&),
                           log::Format& (*)(Config&)>;

struct Key {
    std::string_view path;  // TOML: "http.listen"; the flag is --http-listen
    Type type;
    std::string_view placeholder;   // ADDR:PORT, in help texts
    std::string_view default_text;  // what print() gives for a fresh Config
    // Limits: of a count, of a size in bytes, of a duration in ms, of a text in characters.
    std::uint64_t min = 0;
    std::uint64_t max = 0;
    bool reloadable = false;  // SIGHUP puts a new value into effect
    std::string_view help;    // one sentence
    Field field;
    std::string_view alias{};  // another flag for the same key, without dashes
};

/// In the order of the default file: keys without a section first.
[[nodiscard]] std::span<const Key> keys();
[[nodiscard]] const Key* find_key(std::string_view path);

[[nodiscard]] std::string flag_of(const Key& key);         // "--http-listen"
[[nodiscard]] std::string environment_of(const Key& key);  // "FASTREG_HTTP_LISTEN"
/// "1KiB to 4MiB", or empty where only the type limits.
[[nodiscard]] std::string limits_of(const Key& key);

/// Sets the field from text, as a flag or a variable gives it; a list replaces what was there
/// (comma separated). The error does not name the key: the caller knows how it was spelled.
[[nodiscard]] Status assign(const Key& key, std::string_view text, Config& config);
/// The text that assign() takes back; a list is comma separated.
[[nodiscard]] std::string print(const Key& key, const Config& config);

/// The default configuration written out, every key with its help: configs/fastreg.toml.
[[nodiscard]] std::string default_file();

}  // namespace fastreg::config
