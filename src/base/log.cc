#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/clock.h"

namespace fastreg::log {

namespace {

std::atomic<Level> g_level{Level::info};
std::atomic<Format> g_format{Format::text};

constexpr std::array<std::string_view, 6> kLevelNames = {"trace", "debug", "info",
                                                         "warn",  "error", "off"};

std::string_view name_of(Level level) {
    return kLevelNames[static_cast<std::size_t>(level)];
}

spdlog::logger& sink() {
    static const auto logger = [] {
        auto made = std::make_shared<spdlog::logger>(
            "fastreg", std::make_shared<spdlog::sinks::stderr_sink_mt>());
        made->set_pattern("%v");
        made->set_level(spdlog::level::trace);
        made->flush_on(spdlog::level::trace);
        return made;
    }();
    return *logger;
}

/// Bytes of the UTF-8 character at the start of `text`; 0 when it is none.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) return 1;
    const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0U) != 0x80U) return 0;
    }
    const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
    const bool beyond = (lead == 0xed && byte(1) > 0x9f) || (lead == 0xf4 && byte(1) > 0x8f);
    return overlong || beyond ? 0 : length;
}

/// Control characters, C1 ones included, can move the cursor of whoever reads the log.
bool is_control(std::string_view character) {
    const auto lead = static_cast<unsigned char>(character[0]);
    if (character.size() == 1) return lead < 0x20 || lead == 0x7f;
    return lead == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
}

void append_hex(std::string& out, const char* prefix, char c) {
    out += prefix;
    out += to_hex(as_bytes({&c, 1}));
}

void append_escaped(std::string& out, std::string_view text, Format format) {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const std::string_view character = text.substr(0, length == 0 ? 1 : length);
        if (length == 0) {
            if (format == Format::json) {
                out += "\\ufffd";
            } else {
                append_hex(out, "\\x", character[0]);
            }
        } else if (is_control(character)) {
            append_hex(out, format == Format::json ? "\\u00" : "\\x", character.back());
        } else {
            if (character == "\"" || character == "\\") out += '\\';
            out += character;
        }
        text.remove_prefix(character.size());
    }
}

bool needs_quotes(std::string_view text) {
    if (text.empty()) return true;
    for (const char c : text) {
        if (c <= ' ' || c > '~' || c == '"' || c == '=' || c == '\\') return true;
    }
    return false;
}

void append_time(std::string& out, std::uint64_t wall_ms) {
    const auto seconds = static_cast<std::time_t>(wall_ms / 1000);
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    std::array<char, 48> text{};
    const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
    out.append(text.data(), size);
    std::snprintf(text.data(), text.size(), ".%03uZ", static_cast<unsigned>(wall_ms % 1000));
    out += text.data();
}

void append_json(std::string& out, std::string_view key, std::string_view value, bool quoted) {
    out += out.empty() ? "{\"" : ",\"";
    append_escaped(out, key, Format::json);
    out += quoted ? "\":\"" : "\":";
    append_escaped(out, value, Format::json);
    if (quoted) out += '"';
}

}  // namespace

Field::Field(std::string_view k, double v) : key(k), quoted(!std::isfinite(v)) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.6g", v);
    value = text.data();
}

Result<Level> parse_level(std::string_view text) {
    for (std::size_t i = 0; i < kLevelNames.size(); ++i) {
        if (text == kLevelNames[i]) return static_cast<Level>(i);
    }
    return fail(Errc::invalid_argument, "log level '" + std::string(text) +
                                            "' is none of trace, debug, info, warn, error, off");
}

void start(Level level, Format format) {
    g_level = level;
    g_format = format;
    sink();
}

void set_level(Level level) {
    g_level = level;
}

bool enabled(Level level) {
    return level >= g_level.load(std::memory_order_relaxed);
}

std::string format_line(Format format, Level level, std::uint64_t wall_ms, std::string_view event,
                        std::initializer_list<Field> fields) {
    std::string line;
    if (format == Format::json) {
        std::string time;
        append_time(time, wall_ms);
        append_json(line, "time", time, true);
        append_json(line, "level", name_of(level), true);
        append_json(line, "event", event, true);
        for (const Field& field : fields) append_json(line, field.key, field.value, field.quoted);
        return line + '}';
    }
    append_time(line, wall_ms);
    line += ' ';
    line += name_of(level);
    line.append(6 - name_of(level).size(), ' ');
    line += event;
    for (const Field& field : fields) {
        line += ' ';
        line += field.key;
        line += '=';
        const bool quotes = field.quoted && needs_quotes(field.value);
        if (quotes) line += '"';
        append_escaped(line, field.value, Format::text);
        if (quotes) line += '"';
    }
    return line;
}

void write(Level level, std::string_view event, std::initializer_list<Field> fields) {
    try {
        sink().log(spdlog::level::info,
                   format_line(g_format, level, wall_clock_ms(), event, fields));
    } catch (...) {  // a full disk or no memory: a log line is not worth a node
    }
}

}  // namespace fastreg::log
