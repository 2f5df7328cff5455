// Finds the end of a request head and refuses every way of writing lines that two servers could
// read differently, byte by byte, so that the answer does not depend on how the bytes were cut into
// reads. A value of the parser's; not thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "http/parser.h"

namespace fastreg::http {

class HeadScanner {
  public:
    enum class Verdict { more, done, bad };

    explicit HeadScanner(ParserLimits limits) : limits_(limits) {}

    /// One byte of the head.
    [[nodiscard]] Verdict put(unsigned char c);
    [[nodiscard]] const BadMessage& bad() const { return bad_; }
    /// The empty lines that may stand before a request line are over.
    [[nodiscard]] bool started() const { return started_; }
    void reset();

  private:
    enum class Part { method, target, version, field_start, field_name, field_value, after_cr };

    Verdict refuse(int status, std::string_view what);
    Verdict put_method(unsigned char c);
    Verdict put_target(unsigned char c);
    Verdict put_after_cr(unsigned char c);
    Verdict put_field_start(unsigned char c);
    Verdict put_field_name(unsigned char c);
    Verdict put_text(unsigned char c);

    ParserLimits limits_;
    BadMessage bad_;
    Part part_ = Part::method;
    bool started_ = false;
    bool empty_line_ = false;  // the CR that was seen ends an empty line
    std::size_t bytes_ = 0;
    std::size_t in_part_ = 0;
    std::size_t fields_ = 0;
    std::string start_;  // the first bytes, to recognise other protocols
};

}  // namespace fastreg::http
