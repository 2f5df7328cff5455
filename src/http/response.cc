#include "http/response.h"

#include <array>
#include <cstdio>

namespace fastreg::http {

std::string_view reason_phrase(int status) {
    switch (status) {
        case 100:
            return "Continue";
        case 200:
            return "OK";
        case 201:
            return "Created";
        case 202:
            return "Accepted";
        case 204:
            return "No Content";
        case 206:
            return "Partial Content";
        case 301:
            return "Moved Permanently";
        case 304:
            return "Not Modified";
        case 307:
            return "Temporary Redirect";
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 406:
            return "Not Acceptable";
        case 408:
            return "Request Timeout";
        case 409:
            return "Conflict";
        case 411:
            return "Length Required";
        case 413:
            return "Content Too Large";
        case 414:
            return "URI Too Long";
        case 415:
            return "Unsupported Media Type";
        case 416:
            return "Range Not Satisfiable";
        case 417:
            return "Expectation Failed";
        case 429:
            return "Too Many Requests";
        case 431:
            return "Request Header Fields Too Large";
        case 500:
            return "Internal Server Error";
        case 501:
            return "Not Implemented";
        case 502:
            return "Bad Gateway";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        case 505:
            return "HTTP Version Not Supported";
        case 507:
            return "Insufficient Storage";
        default:
            return "Unnamed";
    }
}

bool never_has_body(int status) {
    return (status >= 100 && status < 200) || status == 204 || status == 304;
}

bool uses_chunks(const ResponseHead& head, int minor) {
    return !head.content_length && minor >= 1 && !never_has_body(head.status);
}

namespace {

void append_clean(std::string& out, std::string_view text) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        out += (byte < ' ' && c != '\t') || byte == 0x7f ? '?' : c;
    }
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
    append_clean(out, name);
    out += ": ";
    append_clean(out, value);
    out += "\r\n";
}

}  // namespace

std::string serialize(const ResponseHead& head, const SerializeOptions& options) {
    std::string out;
    out.reserve(256);
    out += "HTTP/1.1 " + std::to_string(head.status) + ' ';
    out += reason_phrase(head.status);
    out += "\r\n";
    if (!options.date.empty()) append_field(out, "Date", options.date);
    for (const Headers::Field& field : head.headers.fields()) {
        append_field(out, field.name, field.value);
    }
    bool keep_alive = options.keep_alive;
    if (!never_has_body(head.status)) {
        if (head.content_length) {
            append_field(out, "Content-Length", std::to_string(*head.content_length));
        } else if (uses_chunks(head, options.minor)) {
            append_field(out, "Transfer-Encoding", "chunked");
        } else {
            keep_alive = false;  // the end of the connection is the end of the body
        }
    }
    if (!keep_alive) {
        append_field(out, "Connection", "close");
    } else if (options.minor == 0) {
        append_field(out, "Connection", "keep-alive");
    }
    out += "\r\n";
    return out;
}

std::string serialize_whole(ResponseHead head,
                            std::string_view body,
                            bool head_only,
                            const SerializeOptions& options) {
    if (!head.content_length) head.content_length = body.size();
    std::string out = serialize(head, options);
    if (!head_only && !never_has_body(head.status)) out += body;
    return out;
}

std::string chunk_prefix(std::size_t size) {
    std::array<char, 24> text{};
    const int n = std::snprintf(text.data(), text.size(), "%zx\r\n", size);
    return {text.data(), static_cast<std::size_t>(n)};
}

std::string format_date(std::uint64_t unix_seconds) {
    static constexpr std::array kDays = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static constexpr std::array kMonths = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const std::uint64_t days = unix_seconds / 86400;
    const std::uint64_t rest = unix_seconds % 86400;
    // Days to a civil date, counting eras of 400 years from 0000-03-01.
    const std::uint64_t z = days + 719468;
    const std::uint64_t era = z / 146097;
    const std::uint64_t doe = z % 146097;
    const std::uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    const std::uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    const std::uint64_t mp = (5 * doy + 2) / 153;
    const std::uint64_t day = doy - (153 * mp + 2) / 5 + 1;
    const std::uint64_t month = mp < 10 ? mp + 3 : mp - 9;
    const std::uint64_t year = yoe + era * 400 + (month <= 2 ? 1 : 0);
    std::array<char, 64> text{};
    const int n = std::snprintf(text.data(),
                                text.size(),
                                "%s, %02d %s %04d %02d:%02d:%02d GMT",
                                kDays[days % 7],
                                static_cast<int>(day),
                                kMonths[month - 1],
                                static_cast<int>(year % 10000),
                                static_cast<int>(rest / 3600),
                                static_cast<int>(rest / 60 % 60),
                                static_cast<int>(rest % 60));
    return {text.data(), static_cast<std::size_t>(n)};
}

}  // namespace fastreg::http
