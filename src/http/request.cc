#include "http/request.h"

#include <algorithm>

namespace fastreg::http {

namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

Result<Query> parse_query(std::string_view text) {
    Query query;
    while (!text.empty()) {
        const std::size_t end = text.find('&');
        const std::string_view pair = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        if (pair.empty()) continue;
        const std::size_t equals = pair.find('=');
        auto key = percent_decode(pair.substr(0, equals));
        auto value = percent_decode(equals == std::string_view::npos ? std::string_view{}
                                                                     : pair.substr(equals + 1));
        if (!key) return fail(Errc::invalid_argument, "the query has " + key.error().what);
        if (!value) return fail(Errc::invalid_argument, "the query has " + value.error().what);
        query.emplace_back(std::move(*key), std::move(*value));
    }
    return query;
}

}  // namespace

std::string_view name_of(Method method) {
    switch (method) {
        case Method::get:
            return "GET";
        case Method::head:
            return "HEAD";
        case Method::post:
            return "POST";
        case Method::put:
            return "PUT";
        case Method::patch:
            return "PATCH";
        case Method::del:
            return "DELETE";
        case Method::options:
            return "OPTIONS";
        case Method::other:
            break;
    }
    return "other";
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
               return lower(x) == lower(y);
           });
}

void Headers::add(std::string name, std::string value) {
    fields_.push_back({std::move(name), std::move(value)});
}

void Headers::set(std::string_view name, std::string value) {
    std::erase_if(fields_, [&](const Field& f) { return equal_ignoring_case(f.name, name); });
    add(std::string(name), std::move(value));
}

std::optional<std::string_view> Headers::find(std::string_view name) const {
    for (const Field& field : fields_) {
        if (equal_ignoring_case(field.name, name)) return field.value;
    }
    return std::nullopt;
}

std::string_view Headers::get(std::string_view name) const {
    return find(name).value_or(std::string_view{});
}

std::vector<std::string> Headers::list(std::string_view name) const {
    std::vector<std::string> items;
    for (const Field& field : fields_) {
        if (!equal_ignoring_case(field.name, name)) continue;
        std::string_view rest = field.value;
        while (true) {
            const std::size_t comma = rest.find(',');
            const std::string_view item = trim(rest.substr(0, comma));
            if (!item.empty()) items.emplace_back(item);
            if (comma == std::string_view::npos) break;
            rest.remove_prefix(comma + 1);
        }
    }
    return items;
}

std::optional<std::string_view> Request::query_value(std::string_view key) const {
    for (const auto& [name, value] : query) {
        if (name == key) return value;
    }
    return std::nullopt;
}

std::vector<std::string> Request::query_values(std::string_view key) const {
    std::vector<std::string> values;
    for (const auto& [name, value] : query) {
        if (name == key) values.push_back(value);
    }
    return values;
}

Result<Target> parse_target(std::string_view target) {
    if (target.starts_with("http://") || target.starts_with("https://")) {
        target.remove_prefix(target.find("//") + 2);
        const std::size_t path = target.find_first_of("/?");
        target = path == std::string_view::npos ? std::string_view("/") : target.substr(path);
        if (target.front() == '?') return fail(Errc::invalid_argument, "the target has no path");
    }
    if (!target.starts_with('/')) {
        return fail(Errc::invalid_argument, "the request target must be a path such as /v2/");
    }
    if (target.find('#') != std::string_view::npos) {
        return fail(Errc::invalid_argument, "the request target must not hold a fragment (#)");
    }
    const std::size_t question = target.find('?');
    auto path = percent_decode(target.substr(0, question));
    if (!path) return fail(Errc::invalid_argument, "the path has " + path.error().what);
    Target parsed;
    parsed.path = std::move(*path);
    if (question != std::string_view::npos) {
        FR_TRY_ASSIGN(parsed.query, parse_query(target.substr(question + 1)));
    }
    return parsed;
}

std::string percent_encode(std::string_view text) {
    static constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string out;
    out.reserve(text.size());
    for (const char c : text) {
        if (unreserved(c)) {
            out += c;
        } else {
            const auto byte = static_cast<unsigned char>(c);
            out += '%';
            out += kDigits[byte >> 4U];
            out += kDigits[byte & 15U];
        }
    }
    return out;
}

Result<std::string> percent_decode(std::string_view text) {
    const auto broken = [] {
        return fail(Errc::invalid_argument, "a broken percent sequence; it must read %XX");
    };
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '%') {
            if (text.size() - i < 3) return broken();
            const int high = hex_value(text[i + 1]);
            const int low = hex_value(text[i + 2]);
            if (high < 0 || low < 0) return broken();
            c = static_cast<char>(high * 16 + low);
            i += 2;
        }
        if (c == '\0') {
            return fail(Errc::invalid_argument, "the byte 0x00 (%00), which is forbidden");
        }
        out += c;
    }
    return out;
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

}  // namespace fastreg::http
