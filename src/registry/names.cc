#include "registry/names.h"

#include <algorithm>

namespace fastreg::registry {

namespace {

bool is_lower_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}
bool is_alnum(char c) {
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

// One separator between two alphanumeric runs: ".", "_", "__", or any number of "-".
bool is_separator(std::string_view text) {
    if (text == "." || text == "_" || text == "__") return true;
    return !text.empty() && text.find_first_not_of('-') == std::string_view::npos;
}

bool is_component(std::string_view text) {
    if (text.empty() || !is_lower_alnum(text.front()) || !is_lower_alnum(text.back())) return false;
    std::size_t i = 0;
    while (i < text.size()) {
        if (is_lower_alnum(text[i])) {
            ++i;
            continue;
        }
        std::size_t end = i;
        while (end < text.size() && !is_lower_alnum(text[end])) ++end;
        if (!is_separator(text.substr(i, end - i))) return false;
        i = end;
    }
    return true;
}

// For messages: what a client sent, cut and without control characters.
std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text.substr(0, 80)) out += c < ' ' || c == 0x7f || c == '"' ? '?' : c;
    return out + (text.size() > 80 ? "...\"" : "\"");
}

}  // namespace

bool is_repository(std::string_view text) {
    if (text.empty() || text.size() > kMaxRepositoryLength) return false;
    while (true) {
        const std::size_t slash = text.find('/');
        if (!is_component(text.substr(0, slash))) return false;
        if (slash == std::string_view::npos) return true;
        text.remove_prefix(slash + 1);
    }
}

bool is_tag(std::string_view text) {
    if (text.empty() || text.size() > kMaxTagLength) return false;
    if (!is_alnum(text.front()) && text.front() != '_') return false;
    return std::all_of(text.begin(), text.end(), [](char c) {
        return is_alnum(c) || c == '.' || c == '_' || c == '-';
    });
}

bool is_registry_host(std::string_view component) {
    if (component.empty() || component.size() > kMaxRepositoryLength) return false;
    const std::size_t colon = component.find(':');
    const std::string_view host = component.substr(0, colon);
    const bool has_port = colon != std::string_view::npos;
    if (!has_port && host != "localhost" && host.find('.') == std::string_view::npos) return false;
    if (host.empty() || !is_alnum(host.front()) || !is_alnum(host.back())) return false;
    if (host.find("..") != std::string_view::npos) return false;
    if (!std::all_of(
            host.begin(), host.end(), [](char c) { return is_alnum(c) || c == '.' || c == '-'; })) {
        return false;
    }
    if (!has_port) return true;
    const std::string_view port = component.substr(colon + 1);
    return !port.empty() && port.size() <= 5 &&
           port.find_first_not_of("0123456789") == std::string_view::npos;
}

ApiResult<Name> parse_name(std::string_view path, std::string_view ns) {
    Name name;
    if (!ns.empty()) {
        if (ns.size() > kMaxRepositoryLength || (!is_registry_host(ns) && !is_component(ns))) {
            return tl::unexpected(make_error(
                ErrorCode::name_invalid, "ns=" + quoted(ns) + " does not name a registry host"));
        }
        name.ns = ns;
    }
    const std::size_t slash = path.find('/');
    if (slash != std::string_view::npos && is_registry_host(path.substr(0, slash))) {
        name.registry = path.substr(0, slash);
        path.remove_prefix(slash + 1);
    }
    if (!is_repository(path)) {
        return tl::unexpected(make_error(
            ErrorCode::name_invalid,
            quoted(path) + " is not a repository name: lower-case letters and digits, joined by "
                           "'.', '_', '__', '-' or '/', at most 255 characters"));
    }
    name.repository = path;
    return name;
}

ApiResult<Reference> parse_reference(std::string_view text) {
    if (is_tag(text)) return Reference(std::string(text));
    if (text.find(':') != std::string_view::npos) {
        auto digest = Digest::parse(text);
        if (digest) return Reference(*digest);
        return tl::unexpected(make_error(ErrorCode::digest_invalid, digest.error().what));
    }
    return tl::unexpected(make_error(
        ErrorCode::tag_invalid,
        quoted(text) + " is neither a tag ([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}) nor a digest"));
}

std::string str(const Reference& reference) {
    if (const Digest* digest = std::get_if<Digest>(&reference)) return digest->str();
    return std::get<std::string>(reference);
}

}  // namespace fastreg::registry
