// HTTP/1.1 requests out of a byte stream, one event at a time; hostile input expected.
// Stricter than the RFC allows a server to be: every line ends in CRLF, one framing per message.
// Not thread-safe; one parser a connection.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <variant>

#include "base/bytes.h"
#include "http/request.h"

namespace fastreg::http {

/// Protocol limits (protocols.md 11). Body limits belong to whoever reads the body.
struct ParserLimits {
    std::size_t head_bytes = 32 * 1024;   // 431 beyond
    std::size_t target_bytes = 8 * 1024;  // 414 beyond
    std::size_t fields = 100;             // 431 beyond
};

struct NeedMore {};  // everything was consumed; call again with more bytes
struct HeadDone {
    Request request;
};
struct BodyData {
    ByteView bytes;  // points into the input of this call
};
struct MessageDone {};  // the next byte belongs to the next request
struct BadMessage {     // answer `status`, then close: the framing is lost
    int status = 400;
    std::string what;
};
using ParseEvent = std::variant<NeedMore, HeadDone, BodyData, MessageDone, BadMessage>;

struct ParseStep {
    std::size_t consumed = 0;  // of this call's input; the rest is still the caller's
    ParseEvent event;
};

class Parser {
  public:
    explicit Parser(ParserLimits limits = {});
    ~Parser();
    Parser(Parser&&) noexcept;
    Parser& operator=(Parser&&) noexcept;

    /// At most one event a call. After HeadDone the body is not touched until the next call, and
    /// after MessageDone the pipelined tail is not. Call with an empty view to ask whether a
    /// message ends without further bytes (a request without a body does). A BadMessage is final:
    /// every later call repeats it.
    [[nodiscard]] ParseStep feed(ByteView input);

    /// Between messages and nothing of the next one has come: end of stream is clean here.
    [[nodiscard]] bool idle() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg::http
