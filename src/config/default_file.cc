// The default configuration written out, from the table of keys.
#include "config/keys.h"

namespace fastreg::config {
namespace {

constexpr std::string_view kTop =
    R"(# FastReg: every key of the configuration, with its default value. A file may leave out any of them.
#
# Read from /etc/fastreg/fastreg.toml, or from --config FILE. Each key is also a flag (--http-listen)
# and an environment variable (FASTREG_HTTP_LISTEN; an empty one counts as not set, but FASTREG_JOIN
# may not be empty). Flags win over the environment, the environment over this file. An unknown key
# is an error.
#
# Sizes: bytes (4096) or a number with KiB, MiB, GiB, TiB (powers of 1024) or KB, MB, GB, TB (of 1000).
# Durations: a number with its unit: "500ms", "30s", "5m", "1h", "2d".
# 0 is refused or means what its key says; nowhere does it mean "no limit". Port 0 means any free
# port. An empty text, where a key may have one, means what its key says; an empty flag is an error.
# SIGHUP reads this file again: keys marked "reloadable" change at once, the others with the next
# start.
#
# `fastreg config check` says what is wrong with a file and shows what the node would run with.
)";

// Breaks a sentence into comment lines of at most 100 columns.
std::string comment(std::string_view text) {
    constexpr std::size_t kColumns = 100;
    std::string out;
    std::string line = "#";
    while (!text.empty()) {
        const auto space = text.find(' ');
        const auto word = text.substr(0, space);
        if (line.size() + 1 + word.size() > kColumns) {
            out += line + "\n";
            line = "#";
        }
        line += " " + std::string(word);
        text = space == std::string_view::npos ? std::string_view{} : text.substr(space + 1);
    }
    return out + line + "\n";
}

std::string literal(const Key& key) {
    const std::string text(key.default_text);
    switch (key.type) {
        case Type::boolean:
        case Type::count: return text;
        case Type::endpoints: return text.empty() ? "[]" : "[\"" + text + "\"]";
        default: return "\"" + text + "\"";
    }
}

std::string remark(const Key& key) {
    std::string out(key.help);
    if (auto limits = limits_of(key); !limits.empty()) {
        if (limits.front() == 'a') limits.front() = 'A';
        out += (limits.front() == 'A' ? " " : " From ") + limits + ".";
    }
    if (key.type == Type::gate) out += " One of allow, deny.";
    if (key.type == Type::log_format) out += " One of text, json.";
    if (key.reloadable) out += " Reloadable.";
    return out;
}

}  // namespace

std::string default_file() {
    std::string out(kTop);
    std::string_view section;
    for (const Key& key : keys()) {
        const auto dot = key.path.find('.');
        const auto here = dot == std::string_view::npos ? std::string_view{} : key.path.substr(0, dot);
        if (here != section) {
            out += "\n[" + std::string(here) + "]\n";
            section = here;
        }
        const auto name = dot == std::string_view::npos ? key.path : key.path.substr(dot + 1);
        out += "\n" + comment(remark(key));
        out += std::string(name) + " = " + literal(key) + "\n";
    }
    return out;
}

}  // namespace fastreg::config
