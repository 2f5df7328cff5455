// One key's value from text and back, with its limits.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <charconv>
#include <utility>

#include "config/keys.h"
#include "config/units.h"

namespace fastreg::config {
namespace {

template <class T, std::size_t N>
using Names = std::array<std::pair<std::string_view, T>, N>;

constexpr Names<log::Level, 6> kLevels{{{"trace", log::Level::trace},
                                        {"debug", log::Level::debug},
                                        {"info", log::Level::info},
                                        {"warn", log::Level::warn},
                                        {"error", log::Level::error},
                                        {"off", log::Level::off}}};
constexpr Names<log::Format, 2> kFormats{
    {{"text", log::Format::text}, {"json", log::Format::json}}};
constexpr Names<Gate, 2> kGates{{{"allow", Gate::allow}, {"deny", Gate::deny}}};
constexpr Names<bool, 2> kBooleans{{{"true", true}, {"false", false}}};

std::string quoted(std::string_view text) { return "'" + std::string(text.substr(0, 200)) + "'"; }

template <class T, std::size_t N>
Status pick(const Names<T, N>& names, std::string_view text, T& out) {
    std::string all;
    for (const auto& [name, value] : names) {
        if (name == text) {
            out = value;
            return {};
        }
        all += (all.empty() ? "" : ", ") + std::string(name);
    }
    return fail(Errc::invalid_argument, quoted(text) + " is not one of " + all);
}

template <class T, std::size_t N>
std::string name_in(const Names<T, N>& names, T value) {
    for (const auto& [name, candidate] : names) {
        if (candidate == value) return std::string(name);
    }
    return {};
}

// An IPv4 or IPv6 address. Whether it means "any" is told apart: that cannot be dialled.
bool numeric(const std::string& host, bool& any) {
    in_addr four{};
    in6_addr six{};
    if (inet_pton(AF_INET, host.c_str(), &four) == 1) {
        any = four.s_addr == INADDR_ANY;
        return true;
    }
    if (inet_pton(AF_INET6, host.c_str(), &six) == 1) {
        any = IN6_IS_ADDR_UNSPECIFIED(&six) != 0;
        return true;
    }
    return false;
}

Status assign_text(const Key& key, std::string_view text, std::string& out) {
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            return fail(Errc::invalid_argument, "holds a control character");
        }
    }
    if (text.size() < key.min) return fail(Errc::invalid_argument, "may not be empty");
    if (text.size() > key.max) {
        return fail(Errc::too_large, quoted(text) + " is longer than " + std::to_string(key.max) +
                                         " characters");
    }
    out = std::string(text);
    return {};
}

// One with min 0 is dialled, and may be left empty; another one is listened on.
Status assign_address(const Key& key, std::string_view text, std::string& out) {
    std::string host(text);
    if (host.empty() && key.min > 0) return fail(Errc::invalid_argument, "may not be empty");
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    }
    if (host == "localhost") host = "127.0.0.1";
    bool any = false;
    if (!host.empty() && !numeric(host, any)) {
        return fail(Errc::invalid_argument,
                    quoted(text) + " is not a numeric IPv4 or IPv6 address (without a port)");
    }
    if (any && key.min == 0) {
        return fail(Errc::invalid_argument,
                    quoted(text) + " cannot be dialled; write the address of one interface");
    }
    out = std::move(host);
    return {};
}

Status assign_listen(const Key& key, std::string_view text, Endpoint& out) {
    if (text.empty() && key.min == 0) {
        out = {};
        return {};
    }
    FR_TRY_ASSIGN(Endpoint endpoint, Endpoint::parse(text));
    if (endpoint.host == "localhost") endpoint.host = "127.0.0.1";
    bool any = false;
    if (!numeric(endpoint.host, any)) {
        return fail(Errc::invalid_argument, quoted(text) +
                                                " is not a numeric address and port to listen on, "
                                                "such as 0.0.0.0:8080 or [::1]:8080");
    }
    out = std::move(endpoint);
    return {};
}

Status assign_endpoints(const Key& key, std::string_view text, std::vector<Endpoint>& out) {
    std::vector<Endpoint> list;
    for (bool more = !text.empty(); more;) {
        const auto comma = text.find(',');
        std::string_view item = text.substr(0, comma);
        more = comma != std::string_view::npos;
        if (more) text.remove_prefix(comma + 1);
        while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
        while (!item.empty() && item.back() == ' ') item.remove_suffix(1);
        if (item.empty()) return fail(Errc::invalid_argument, "is empty; write HOST:PORT");
        FR_TRY_ASSIGN(Endpoint endpoint, Endpoint::parse(item));
        bool any = false;
        (void)numeric(endpoint.host, any);
        if (any || endpoint.port == 0) {
            return fail(Errc::invalid_argument,
                        quoted(item) + " cannot be dialled; name one host and its port");
        }
        list.push_back(std::move(endpoint));
        if (list.size() > key.max) {
            return fail(Errc::too_large, "lists more than " + std::to_string(key.max) + " addresses");
        }
    }
    out = std::move(list);
    return {};
}

Status within(const Key& key, std::uint64_t value, std::string_view text) {
    if (value >= key.min && (key.max == 0 || value <= key.max)) return {};
    return fail(Errc::out_of_range, quoted(text) + (key.max == 0 ? " is not " : " is outside ") + limits_of(key));
}

Status assign_number(const Key& key, std::string_view text, std::uint64_t& out) {
    std::uint64_t value = 0;
    if (key.type == Type::size) {
        FR_TRY_ASSIGN(value, parse_size(text));
    } else {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
            return fail(Errc::invalid_argument, quoted(text) + " is not a whole number");
        }
    }
    FR_TRY(within(key, value, text));
    out = value;
    return {};
}

Status assign_share(const Key& key, std::string_view text, Share& out) {
    FR_TRY_ASSIGN(const Share share, parse_share(text));
    if (share.percent == 0) FR_TRY(within(key, share.bytes, text));
    out = share;
    return {};
}

Status assign_duration(const Key& key, std::string_view text, Duration& out) {
    FR_TRY_ASSIGN(const Duration span, parse_duration(text));
    FR_TRY(within(key, static_cast<std::uint64_t>(millis_of(span)), text));
    out = span;
    return {};
}

template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;  // clang 14 deduces no aggregate

}  // namespace

Status assign(const Key& key, std::string_view text, Config& config) {
    return std::visit(
        [&](const auto& at) -> Status {
            auto& field = at(config);
            using T = std::remove_reference_t<decltype(field)>;
            if constexpr (std::is_same_v<T, std::string>) {
                return key.type == Type::address ? assign_address(key, text, field)
                                                 : assign_text(key, text, field);
            } else if constexpr (std::is_same_v<T, bool>) {
                return pick(kBooleans, text, field);
            } else if constexpr (std::is_same_v<T, Gate>) {
                return pick(kGates, text, field);
            } else if constexpr (std::is_same_v<T, Endpoint>) {
                return assign_listen(key, text, field);
            } else if constexpr (std::is_same_v<T, std::vector<Endpoint>>) {
                return assign_endpoints(key, text, field);
            } else if constexpr (std::is_same_v<T, std::uint64_t>) {
                return assign_number(key, text, field);
            } else if constexpr (std::is_same_v<T, Share>) {
                return assign_share(key, text, field);
            } else if constexpr (std::is_same_v<T, Duration>) {
                return assign_duration(key, text, field);
            } else if constexpr (std::is_same_v<T, log::Level>) {
                return pick(kLevels, text, field);
            } else {
                return pick(kFormats, text, field);
            }
        },
        key.field);
}

std::string print(const Key& key, const Config& config) {
    // The accessors hand out mutable references; reading through a copy keeps `config` const.
    Config copy = config;
    const Overloaded show{
        [](const std::string& text) { return text; },
        [](const bool& flag) { return name_in(kBooleans, flag); },
        [](const Gate& gate) { return name_in(kGates, gate); },
        [](const Endpoint& endpoint) { return endpoint.str(); },
        [](const std::vector<Endpoint>& list) {
            std::string all;
            for (const Endpoint& endpoint : list) all += (all.empty() ? "" : ",") + endpoint.str();
            return all;
        },
        [&](const std::uint64_t& value) {
            return key.type == Type::size ? print_size(value) : std::to_string(value);
        },
        [](const Share& share) { return print_share(share); },
        [](const Duration& span) { return print_duration(span); },
        [](const log::Level& level) { return name_in(kLevels, level); },
        [](const log::Format& format) { return name_in(kFormats, format); },
    };
    return std::visit([&](const auto& at) { return show(std::as_const(at(copy))); }, key.field);
}

std::string limits_of(const Key& key) {
    const auto shown = [&](std::uint64_t bound) {
        if (key.type == Type::size || key.type == Type::share) return print_size(bound);
        if (key.type == Type::duration) {
            return print_duration(Duration{static_cast<std::int64_t>(bound) * 1'000'000});
        }
        return std::to_string(bound);
    };
    switch (key.type) {
        case Type::count:
        case Type::size:
        case Type::duration: return shown(key.min) + " to " + shown(key.max);
        case Type::share: return key.min == 0 ? "" : "at least " + shown(key.min);
        case Type::text: return "at most " + shown(key.max) + " characters";
        case Type::endpoints: return "at most " + shown(key.max);
        default: return {};
    }
}

}  // namespace fastreg::config
