// llhttp reads the head (as one buffer, after HeadScanner passed it) and the chunked framing;
// bodies of known length are counted here.
#include "http/parser.h"

#include <llhttp.h>

#include <algorithm>
#include <cstring>

#include "http/head_scanner.h"

namespace fastreg::http {

namespace {

// Chunk sizes, extensions and trailers may cost this many bytes, and 16 more per body byte (the
// smallest chunk costs 5): a body may not be an excuse to read for ever.
constexpr std::uint64_t kOverheadBase = 64 * 1024;
constexpr std::uint64_t kOverheadPerByte = 16;

Method to_method(std::uint8_t method) {
    switch (method) {
        case HTTP_GET:
            return Method::get;
        case HTTP_HEAD:
            return Method::head;
        case HTTP_POST:
            return Method::post;
        case HTTP_PUT:
            return Method::put;
        case HTTP_PATCH:
            return Method::patch;
        case HTTP_DELETE:
            return Method::del;
        case HTTP_OPTIONS:
            return Method::options;
        default:
            return Method::other;
    }
}

BadMessage bad_head(llhttp_errno_t code, const llhttp_t& parser) {
    switch (code) {
        case HPE_INVALID_METHOD:
            return {501, "the request method is not known here"};
        case HPE_INVALID_URL:
            return {400, "the request target is malformed"};
        case HPE_INVALID_VERSION:
            return {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
        case HPE_INVALID_CONTENT_LENGTH:
        case HPE_UNEXPECTED_CONTENT_LENGTH:
            return {400,
                    "Content-Length is malformed, repeated, or stands beside "
                    "Transfer-Encoding"};
        case HPE_INVALID_TRANSFER_ENCODING:
            return {501, "only the transfer encoding \"chunked\" is spoken here"};
        default:
            break;
    }
    const char* reason = llhttp_get_error_reason(&parser);
    return {400,
            std::string("the request head is malformed: ") +
                (reason != nullptr ? reason : llhttp_errno_name(code))};
}

}  // namespace

struct Parser::Impl {
    enum class State { head, length_body, chunked_body, message_end, failed };

    explicit Impl(ParserLimits limits) : scanner(limits) {
        llhttp_settings_init(&settings);
        settings.on_url = [](llhttp_t* p, const char* at, std::size_t n) {
            self(p).request.target.append(at, n);
            return 0;
        };
        settings.on_header_field = [](llhttp_t* p, const char* at, std::size_t n) {
            self(p).on_field(at, n);
            return 0;
        };
        settings.on_header_value = [](llhttp_t* p, const char* at, std::size_t n) {
            self(p).field_value.append(at, n);
            return 0;
        };
        settings.on_header_value_complete = [](llhttp_t* p) {
            self(p).on_field_done();
            return 0;
        };
        settings.on_headers_complete = [](llhttp_t*) { return static_cast<int>(HPE_PAUSED); };
        settings.on_body = [](llhttp_t* p, const char* at, std::size_t n) {
            self(p).body = as_bytes({at, n});
            return static_cast<int>(n == 0 ? HPE_OK : HPE_PAUSED);
        };
        settings.on_message_complete = [](llhttp_t* p) {
            self(p).complete = true;
            return static_cast<int>(HPE_PAUSED);
        };
    }

    static Impl& self(llhttp_t* parser) { return *static_cast<Impl*>(parser->data); }

    void on_field(const char* at, std::size_t n) {
        if (state == State::head) field_name.append(at, n);  // trailers are read and dropped
    }
    void on_field_done() {
        if (state == State::head) {
            while (!field_value.empty() &&
                   (field_value.back() == ' ' || field_value.back() == '\t')) {
                field_value.pop_back();
            }
            request.headers.add(std::move(field_name), std::move(field_value));
        }
        field_name.clear();
        field_value.clear();
    }

    ParseStep refuse(std::size_t consumed, BadMessage why) {
        state = State::failed;
        bad = std::move(why);
        return {consumed, bad};
    }

    ParseStep feed_head(ByteView input);
    ParseStep finish_head(std::size_t consumed);
    [[nodiscard]] std::optional<BadMessage> check_head();
    ParseStep feed_length_body(ByteView input);
    ParseStep feed_chunked_body(ByteView input);
    void next_message();

    llhttp_settings_t settings{};
    llhttp_t parser{};
    HeadScanner scanner;
    State state = State::head;
    BadMessage bad;

    std::string head;
    Request request;
    std::string field_name;
    std::string field_value;

    std::uint64_t body_left = 0;
    std::uint64_t body_seen = 0;
    std::uint64_t overhead = 0;
    ByteView body;
    bool complete = false;
};

ParseStep Parser::Impl::feed_head(ByteView input) {
    for (std::size_t i = 0; i < input.size(); ++i) {
        const auto c = std::to_integer<unsigned char>(input[i]);
        const HeadScanner::Verdict verdict = scanner.put(c);
        if (verdict == HeadScanner::Verdict::bad) return refuse(i + 1, scanner.bad());
        if (scanner.started()) head += static_cast<char>(c);
        if (verdict == HeadScanner::Verdict::done) return finish_head(i + 1);
    }
    return {input.size(), NeedMore{}};
}

ParseStep Parser::Impl::finish_head(std::size_t consumed) {
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = this;
    const llhttp_errno_t code = llhttp_execute(&parser, head.data(), head.size());
    if (code != HPE_PAUSED) {
        return refuse(consumed,
                      code == HPE_OK ? BadMessage{400, "the request head is malformed"}
                                     : bad_head(code, parser));
    }
    // Pausing in on_headers_complete stops at the last LF or right behind it.
    const auto parsed = static_cast<std::size_t>(llhttp_get_error_pos(&parser) - head.data());
    if (parsed + 1 < head.size()) return refuse(consumed, {400, "the request head is malformed"});
    if (auto why = check_head()) return refuse(consumed, std::move(*why));
    llhttp_resume(&parser);
    if (parsed < head.size()) {
        const llhttp_errno_t rest =
            llhttp_execute(&parser, head.data() + parsed, head.size() - parsed);
        if (rest != HPE_OK && rest != HPE_PAUSED && rest != HPE_PAUSED_UPGRADE) {
            return refuse(consumed, bad_head(rest, parser));
        }
    }

    body_left = request.content_length.value_or(0);
    if (request.chunked) {
        state = State::chunked_body;
    } else {
        state = body_left > 0 ? State::length_body : State::message_end;
    }
    complete = false;
    head.clear();
    HeadDone done{std::move(request)};
    request = {};
    return {consumed, std::move(done)};
}

// What llhttp leaves open: one framing, one host, a version we speak, expectations we can meet.
std::optional<BadMessage> Parser::Impl::check_head() {
    request.method = to_method(llhttp_get_method(&parser));
    request.method_name =
        llhttp_method_name(static_cast<llhttp_method_t>(llhttp_get_method(&parser)));
    request.minor = llhttp_get_http_minor(&parser);
    if (llhttp_get_http_major(&parser) != 1 || request.minor > 1) {
        return BadMessage{505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
    }
    std::size_t hosts = 0;
    std::size_t lengths = 0;
    std::size_t encodings = 0;
    for (const Headers::Field& field : request.headers.fields()) {
        hosts += equal_ignoring_case(field.name, "Host") ? 1U : 0U;
        lengths += equal_ignoring_case(field.name, "Content-Length") ? 1U : 0U;
        encodings += equal_ignoring_case(field.name, "Transfer-Encoding") ? 1U : 0U;
    }
    if (hosts > 1 || (hosts == 0 && request.minor == 1)) {
        return BadMessage{400, "a request has exactly one Host field"};
    }
    if (lengths > 1 || encodings > 1 || (lengths != 0 && encodings != 0)) {
        return BadMessage{400, "the request says its length more than once"};
    }
    if (encodings == 1) {
        if (request.minor == 0) {
            return BadMessage{400, "HTTP/1.0 has no Transfer-Encoding"};
        }
        if (!equal_ignoring_case(request.headers.get("Transfer-Encoding"), "chunked")) {
            return BadMessage{501, "only the transfer encoding \"chunked\" is spoken here"};
        }
        request.chunked = true;
    }
    if (lengths == 1) request.content_length = parser.content_length;
    if (const auto expect = request.headers.find("Expect")) {
        if (!equal_ignoring_case(*expect, "100-continue")) {
            return BadMessage{417, "the only expectation that is met here is 100-continue"};
        }
        request.expect_continue = request.minor == 1 && request.has_body();
    }
    request.keep_alive = llhttp_should_keep_alive(&parser) != 0;

    auto target = parse_target(request.target);
    if (!target && request.target == "*") target = Target{"*", {}};
    if (!target) return BadMessage{400, target.error().what};
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    return std::nullopt;
}

ParseStep Parser::Impl::feed_length_body(ByteView input) {
    if (input.empty()) return {0, NeedMore{}};
    const std::size_t n =
        static_cast<std::size_t>(std::min<std::uint64_t>(body_left, input.size()));
    body_left -= n;
    if (body_left == 0) state = State::message_end;
    return {n, BodyData{input.first(n)}};
}

ParseStep Parser::Impl::feed_chunked_body(ByteView input) {
    if (input.empty()) return {0, NeedMore{}};
    parser.data = this;
    body = {};
    llhttp_resume(&parser);
    const std::string_view text = as_text(input);
    const llhttp_errno_t code = llhttp_execute(&parser, text.data(), text.size());
    std::size_t consumed = input.size();
    if (code == HPE_PAUSED || code == HPE_PAUSED_UPGRADE) {
        consumed = static_cast<std::size_t>(llhttp_get_error_pos(&parser) - text.data());
    } else if (code != HPE_OK) {
        const char* reason = llhttp_get_error_reason(&parser);
        return refuse(consumed,
                      {400,
                       std::string("the chunked body is malformed: ") +
                           (reason != nullptr ? reason : llhttp_errno_name(code))});
    }
    body_seen += body.size();
    overhead += consumed - body.size();
    if (overhead > kOverheadBase + kOverheadPerByte * body_seen) {
        return refuse(consumed, {400, "the chunked body is mostly framing"});
    }
    if (!body.empty()) return {consumed, BodyData{body}};
    if (complete) {
        next_message();
        return {consumed, MessageDone{}};
    }
    return {consumed, NeedMore{}};
}

void Parser::Impl::next_message() {
    state = State::head;
    scanner.reset();
    head.clear();
    body_left = body_seen = overhead = 0;
    complete = false;
}

Parser::Parser(ParserLimits limits) : impl_(std::make_unique<Impl>(limits)) {}
Parser::~Parser() = default;
Parser::Parser(Parser&&) noexcept = default;
Parser& Parser::operator=(Parser&&) noexcept = default;

ParseStep Parser::feed(ByteView input) {
    switch (impl_->state) {
        case Impl::State::head:
            return impl_->feed_head(input);
        case Impl::State::length_body:
            return impl_->feed_length_body(input);
        case Impl::State::chunked_body:
            return impl_->feed_chunked_body(input);
        case Impl::State::message_end:
            impl_->next_message();
            return {0, MessageDone{}};
        case Impl::State::failed:
            break;
    }
    return {0, impl_->bad};
}

bool Parser::idle() const {
    return impl_->state == Impl::State::head && impl_->head.empty();
}

}  // namespace fastreg::http
