#include "http/head_scanner.h"

namespace fastreg::http {

namespace {

constexpr std::size_t kLongestMethod = 24;
constexpr std::size_t kLongestVersion = 16;

bool is_token(unsigned char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c != 0 &&
           std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
}

}  // namespace

void HeadScanner::reset() {
    *this = HeadScanner(limits_);
}

HeadScanner::Verdict HeadScanner::refuse(int status, std::string_view what) {
    bad_ = {status, std::string(what)};
    return Verdict::bad;
}

HeadScanner::Verdict HeadScanner::put(unsigned char c) {
    if (++bytes_ > limits_.head_bytes) {
        return refuse(431,
                      "the request head is over the limit of " +
                          std::to_string(limits_.head_bytes) + " bytes");
    }
    switch (part_) {
        case Part::method:
            return put_method(c);
        case Part::target:
            return put_target(c);
        case Part::version:
            return put_text(c);
        case Part::field_start:
            return put_field_start(c);
        case Part::field_name:
            return put_field_name(c);
        case Part::field_value:
            return put_text(c);
        case Part::after_cr:
            break;
    }
    return put_after_cr(c);
}

HeadScanner::Verdict HeadScanner::put_method(unsigned char c) {
    if (!started_ && c == '\r') {
        part_ = Part::after_cr;  // an empty line before the request line is skipped
        return Verdict::more;
    }
    if (!started_ && c == 0x16) {
        return refuse(400,
                      "this port speaks plain HTTP, and a TLS handshake came: use http://, or "
                      "mark this registry as insecure in the client");
    }
    started_ = true;
    if (c == ' ') {
        if (start_.empty()) return refuse(400, "the request line starts with a space");
        if (start_ == "PRI") {
            return refuse(400, "this port speaks plain HTTP/1.1, and an HTTP/2 preface came");
        }
        part_ = Part::target;
        in_part_ = 0;
        return Verdict::more;
    }
    if (!is_token(c)) return refuse(400, "this port speaks plain HTTP: no request line was found");
    start_ += static_cast<char>(c);
    if (start_.size() > kLongestMethod) return refuse(400, "the request method is too long");
    return Verdict::more;
}

HeadScanner::Verdict HeadScanner::put_target(unsigned char c) {
    if (c == ' ') {
        if (in_part_ == 0) return refuse(400, "the request target is empty");
        part_ = Part::version;
        in_part_ = 0;
        return Verdict::more;
    }
    if (c <= ' ' || c >= 0x7f) {
        return refuse(400,
                      "the request target holds a byte that must be percent-encoded, or the "
                      "HTTP version is missing");
    }
    if (++in_part_ > limits_.target_bytes) {
        return refuse(414,
                      "the request target is over the limit of " +
                          std::to_string(limits_.target_bytes) + " bytes");
    }
    return Verdict::more;
}

// The version and field values: anything but control characters, ended by CR LF.
HeadScanner::Verdict HeadScanner::put_text(unsigned char c) {
    if (c == '\r') {
        empty_line_ = false;
        part_ = Part::after_cr;
        return Verdict::more;
    }
    if (c == '\n') return refuse(400, "a line of the request head ends in LF without CR");
    if ((c < ' ' && c != '\t') || c == 0x7f) {
        return refuse(400, "the request head holds a control character");
    }
    if (part_ == Part::version && ++in_part_ > kLongestVersion) {
        return refuse(400, "the request line has more than a method, a target and a version");
    }
    return Verdict::more;
}

HeadScanner::Verdict HeadScanner::put_after_cr(unsigned char c) {
    if (c != '\n') return refuse(400, "a CR in the request head is not followed by LF");
    if (!started_) {
        reset();
        return Verdict::more;
    }
    if (empty_line_) return Verdict::done;
    part_ = Part::field_start;
    return Verdict::more;
}

HeadScanner::Verdict HeadScanner::put_field_start(unsigned char c) {
    if (c == '\r') {
        empty_line_ = true;
        part_ = Part::after_cr;
        return Verdict::more;
    }
    if (c == ' ' || c == '\t') return refuse(400, "a header field is folded over two lines");
    if (++fields_ > limits_.fields) {
        return refuse(
            431, "the request has more than " + std::to_string(limits_.fields) + " header fields");
    }
    part_ = Part::field_name;
    in_part_ = 0;
    return put_field_name(c);
}

HeadScanner::Verdict HeadScanner::put_field_name(unsigned char c) {
    if (c == ':') {
        if (in_part_ == 0) return refuse(400, "a header field has no name");
        part_ = Part::field_value;
        return Verdict::more;
    }
    if (!is_token(c)) {
        return refuse(400, "a header field name holds a space or a character that is not allowed");
    }
    ++in_part_;
    return Verdict::more;
}

}  // namespace fastreg::http
