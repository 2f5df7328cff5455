// One line per event worth knowing: who, what, how much, how long. Any thread.
//   log::info("blob.pulled", {{"digest", d.brief()}, {"bytes", size}, {"ms", millis_of(took)}});
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fastreg::log {

enum class Level { trace, debug, info, warn, error, off };
enum class Format { text, json };

[[nodiscard]] Result<Level> parse_level(std::string_view text);

/// A name and its printed value.
struct Field {
    std::string_view key;
    std::string value;
    bool quoted = true;  // false: a number or a boolean, bare in JSON

    Field(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
    Field(std::string_view k, std::string_view v) : key(k), value(v) {}
    Field(std::string_view k, const char* v) : key(k), value(v) {}
    Field(std::string_view k, bool v) : key(k), value(v ? "true" : "false"), quoted(false) {}
    template <std::integral T>
    Field(std::string_view k, T v) : key(k), value(std::to_string(v)), quoted(false) {}
    Field(std::string_view k, double v);
};

/// Once at start, before other threads; writes to standard error. Level may change at any time.
void start(Level level, Format format);
void set_level(Level level);
[[nodiscard]] bool enabled(Level level);

/// `event` is a stable dotted name; fields follow it. Control characters in values are escaped.
/// Never throws: a line that cannot be written is lost. Waits for a reader of standard error that is
/// slow, on whatever thread: what others may cause at any rate goes through base/rare_line.h.
void write(Level level, std::string_view event, std::initializer_list<Field> fields);
/// The line that write() sends, without its newline.
[[nodiscard]] std::string format_line(Format format, Level level, std::uint64_t wall_ms,
                                      std::string_view event,
                                      std::initializer_list<Field> fields);

inline void debug(std::string_view event, std::initializer_list<Field> fields = {}) {
    if (enabled(Level::debug)) write(Level::debug, event, fields);
}
inline void info(std::string_view event, std::initializer_list<Field> fields = {}) {
    if (enabled(Level::info)) write(Level::info, event, fields);
}
inline void warn(std::string_view event, std::initializer_list<Field> fields = {}) {
    if (enabled(Level::warn)) write(Level::warn, event, fields);
}
inline void error(std::string_view event, std::initializer_list<Field> fields = {}) {
    if (enabled(Level::error)) write(Level::error, event, fields);
}

}  // namespace fastreg::log
