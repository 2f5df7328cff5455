// An HTTP/1.1 request head as values: method, target, query, headers, framing.
// Values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fastreg::http {

enum class Method : std::uint8_t { get, head, post, put, patch, del, options, other };

[[nodiscard]] std::string_view name_of(Method method);

/// Field lines in the order they came; names compare without case.
class Headers {
  public:
    struct Field {
        std::string name;
        std::string value;
        bool operator==(const Field&) const = default;
    };

    void add(std::string name, std::string value);
    /// Replaces every field of that name.
    void set(std::string_view name, std::string value);
    /// The first value.
    [[nodiscard]] std::optional<std::string_view> find(std::string_view name) const;
    /// The first value, or "".
    [[nodiscard]] std::string_view get(std::string_view name) const;
    [[nodiscard]] bool has(std::string_view name) const { return find(name).has_value(); }
    /// All values of that name, split at commas and trimmed: what list fields such as Accept mean.
    [[nodiscard]] std::vector<std::string> list(std::string_view name) const;
    [[nodiscard]] std::size_t size() const { return fields_.size(); }
    [[nodiscard]] const std::vector<Field>& fields() const { return fields_; }
    bool operator==(const Headers&) const = default;

  private:
    std::vector<Field> fields_;
};

/// Percent-decoded, in the order they came. '+' stays '+': no value of ours has a space, and media
/// types have a plus ("tar+gzip").
using Query = std::vector<std::pair<std::string, std::string>>;

struct Request {
    Method method = Method::get;
    std::string method_name;  // as sent, "GET"
    std::string target;       // as sent
    std::string path;         // percent-decoded, starts with '/', no NUL
    Query query;
    Headers headers;
    int minor = 1;  // HTTP/1.minor
    bool keep_alive = true;
    bool expect_continue = false;
    std::optional<std::uint64_t> content_length;
    bool chunked = false;

    [[nodiscard]] bool has_body() const { return chunked || content_length.value_or(0) > 0; }
    /// The first value of that key.
    [[nodiscard]] std::optional<std::string_view> query_value(std::string_view key) const;
    [[nodiscard]] std::vector<std::string> query_values(std::string_view key) const;
    bool operator==(const Request&) const = default;
};

/// Path and query of a request target in origin form ("/v2/a?n=1") or absolute form
/// ("http://host/v2/a?n=1"); percent sequences must be whole and never name NUL.
struct Target {
    std::string path;
    Query query;
};
[[nodiscard]] Result<Target> parse_target(std::string_view target);

/// "a b/c" -> "a%20b%2Fc": everything but letters, digits and -._~ is escaped.
[[nodiscard]] std::string percent_encode(std::string_view text);
/// Fails on a broken sequence and on the byte NUL, and says which of the two it was.
[[nodiscard]] Result<std::string> percent_decode(std::string_view text);

/// ASCII without case.
[[nodiscard]] bool equal_ignoring_case(std::string_view a, std::string_view b);
/// Without the spaces and tabs at both ends.
[[nodiscard]] std::string_view trim(std::string_view text);

}  // namespace fastreg::http
