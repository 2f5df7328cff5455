// The bytes of a fuzzer's input, one after another: what chooses the next event of a core.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastreg::fuzz {

class Script {
  public:
    Script(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
    [[nodiscard]] bool done() const { return at_ >= size_; }
    /// Zero after the end.
    std::uint8_t byte() { return done() ? std::uint8_t{0} : data_[at_++]; }

  private:
    const std::uint8_t* data_;
    std::size_t size_;
    std::size_t at_ = 0;
};

}  // namespace fastreg::fuzz
