// Feeds a parser and writes down what it says, as one comparable text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "http/parser.h"

namespace fastreg::http {

// Adjacent BodyData events are joined: where a body is cut is the reader's business.
class EventLog {
  public:
    void add(const ParseEvent& event) {
        if (const auto* head = std::get_if<HeadDone>(&event)) {
            const Request& r = head->request;
            text_ += "HEAD " + r.method_name + " path=" + r.path + " 1." + std::to_string(r.minor) +
                     (r.keep_alive ? " keep" : " close") + (r.expect_continue ? " expect" : "") +
                     (r.chunked ? " chunked" : "");
            if (r.content_length) text_ += " length=" + std::to_string(*r.content_length);
            for (const auto& [key, value] : r.query) text_ += " ?" + key + "=" + value;
            for (const auto& f : r.headers.fields()) text_ += " |" + f.name + "=" + f.value;
            text_ += '\n';
            requests_.push_back(r);
        } else if (const auto* body = std::get_if<BodyData>(&event)) {
            if (!in_body_) text_ += "BODY ";
            text_ += as_text(body->bytes);
            body_ += as_text(body->bytes);
            in_body_ = true;
            return;
        } else if (std::holds_alternative<MessageDone>(event)) {
            text_ += "\nDONE\n";
        } else if (const auto* bad = std::get_if<BadMessage>(&event)) {
            text_ += "\nBAD " + std::to_string(bad->status) + " " + bad->what + "\n";
            status_ = bad->status;
            what_ = bad->what;
        }
        if (!std::holds_alternative<NeedMore>(event)) in_body_ = false;
    }

    // Everything that comes of `input`; false after a BadMessage.
    bool feed(Parser& parser, ByteView input) {
        while (true) {
            const ParseStep step = parser.feed(input);
            if (step.consumed > input.size()) {
                text_ += "CONSUMED TOO MUCH";
                return false;
            }
            input = input.subspan(step.consumed);
            add(step.event);
            if (std::holds_alternative<BadMessage>(step.event)) return false;
            if (std::holds_alternative<NeedMore>(step.event) && input.empty()) return true;
        }
    }

    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] const std::string& body() const { return body_; }
    [[nodiscard]] const std::vector<Request>& requests() const { return requests_; }
    [[nodiscard]] int status() const { return status_; }
    [[nodiscard]] const std::string& what() const { return what_; }

  private:
    std::string text_;
    std::string body_;
    std::vector<Request> requests_;
    int status_ = 0;
    std::string what_;
    bool in_body_ = false;
};

inline EventLog parse_all(std::string_view bytes) {
    Parser parser;
    EventLog log;
    log.feed(parser, as_bytes(bytes));
    return log;
}

}  // namespace fastreg::http
