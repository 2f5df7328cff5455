#include "http/client_response.h"

#include <llhttp.h>

namespace fastreg::http {

namespace {

constexpr std::size_t kMaxHead = 64 * 1024;

}  // namespace

struct ResponseParser::Impl {
    Impl(bool head, std::size_t max) : to_head(head), max_body(max) {
        llhttp_settings_init(&settings);
        settings.on_header_field = [](llhttp_t* p, const char* at, std::size_t n) {
            return self(p).count_head(n) ? (self(p).name.append(at, n), 0) : -1;
        };
        settings.on_header_value = [](llhttp_t* p, const char* at, std::size_t n) {
            return self(p).count_head(n) ? (self(p).value.append(at, n), 0) : -1;
        };
        settings.on_header_value_complete = [](llhttp_t* p) {
            Impl& s = self(p);
            if (!s.head_done) s.headers.add(std::move(s.name), std::move(s.value));
            s.name.clear();
            s.value.clear();
            return 0;
        };
        settings.on_headers_complete = [](llhttp_t* p) {
            Impl& s = self(p);
            s.head_done = true;
            s.status = llhttp_get_status_code(p);
            return s.to_head || s.status / 100 == 1 ? 1 : 0;
        };
        settings.on_body = [](llhttp_t* p, const char* at, std::size_t n) {
            Impl& s = self(p);
            s.body_bytes += n;
            if (s.body_bytes > s.max_body) {
                s.over = true;
                return -1;
            }
            s.body.append(at, n);
            return 0;
        };
        settings.on_message_complete = [](llhttp_t* p) {
            Impl& s = self(p);
            if (s.status / 100 == 1) {  // "100 Continue" announces the real answer
                s.head_done = false;
                s.headers = {};
                return 0;
            }
            s.complete = true;
            return static_cast<int>(HPE_PAUSED);
        };
        llhttp_init(&parser, HTTP_RESPONSE, &settings);
    }

    static Impl& self(llhttp_t* p) { return *static_cast<Impl*>(p->data); }
    bool count_head(std::size_t n) {
        head_bytes += n;
        return head_bytes <= kMaxHead;
    }

    llhttp_settings_t settings{};
    llhttp_t parser{};
    bool to_head;
    std::size_t max_body;
    std::size_t head_bytes = 0;
    std::size_t body_bytes = 0;
    int status = 0;
    Headers headers;
    std::string name;
    std::string value;
    std::string body;
    bool head_done = false;
    bool complete = false;
    bool over = false;
};

ResponseParser::ResponseParser(bool to_head, std::size_t max_body)
    : impl_(std::make_unique<Impl>(to_head, max_body)) {}
ResponseParser::~ResponseParser() = default;
ResponseParser::ResponseParser(ResponseParser&&) noexcept = default;
ResponseParser& ResponseParser::operator=(ResponseParser&&) noexcept = default;

Result<bool> ResponseParser::feed(ByteView input) {
    Impl& s = *impl_;
    if (s.complete || input.empty()) return s.complete;
    s.parser.data = &s;
    const std::string_view text = as_text(input);
    const llhttp_errno_t code = llhttp_execute(&s.parser, text.data(), text.size());
    if (s.over) {
        return fail(Errc::too_large, "the answer's body is over " + human_bytes(s.max_body));
    }
    if (code != HPE_OK && !s.complete) {
        const char* reason = llhttp_get_error_reason(&s.parser);
        return fail(Errc::protocol,
                    std::string("the answer is not HTTP/1.1: ") +
                        (reason != nullptr ? reason : llhttp_errno_name(code)));
    }
    return s.complete;
}

Status ResponseParser::finish() {
    Impl& s = *impl_;
    if (s.complete) return {};
    s.parser.data = &s;
    const llhttp_errno_t code = llhttp_finish(&s.parser);
    if (!s.complete && (code != HPE_OK || !s.head_done)) {
        return fail(Errc::network, "the connection ended in the middle of the answer");
    }
    s.complete = true;
    return {};
}

bool ResponseParser::head_done() const {
    return impl_->head_done;
}
int ResponseParser::status() const {
    return impl_->status;
}
const Headers& ResponseParser::headers() const {
    return impl_->headers;
}
const std::string& ResponseParser::body() const {
    return impl_->body;
}
std::string ResponseParser::take_body() {
    return std::exchange(impl_->body, {});
}

std::string make_request(std::string_view method,
                         std::string_view target,
                         std::string_view host,
                         const Headers& headers,
                         std::string_view body,
                         bool keep_alive) {
    std::string out;
    out.append(method).append(" ").append(target).append(" HTTP/1.1\r\nHost: ").append(host);
    out += "\r\n";
    for (const Headers::Field& field : headers.fields()) {
        out.append(field.name).append(": ").append(field.value).append("\r\n");
    }
    if (!body.empty() || method == "POST" || method == "PUT") {
        out += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    if (!keep_alive) out += "Connection: close\r\n";
    out += "\r\n";
    out += body;
    return out;
}

}  // namespace fastreg::http
