// The chunks one connection is sending, and whose turn it is: urgent ones first, the others in turn.
// A value of one io thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>

#include "transport/data.h"

namespace fastreg::transport::tcp {

struct Serving {
    ServeOrder order;
    std::uint64_t serial = 0;  // never used twice on one connection
    std::uint64_t sent = 0;
    bool warming = false;    // a worker reads it into the page cache
    bool warm = false;       // a worker has
    bool cancelled = false;
};

/// Whether sending the next `length` bytes would wait for the disk.
enum class Residency : std::uint8_t { cached, cold, failed };
[[nodiscard]] Residency probe(const ServeOrder& order, std::uint64_t at, std::uint64_t length);

/// Reads the range once, so that it is in the page cache; false when it cannot be read. A worker's job.
[[nodiscard]] bool read_ahead(int fd, std::uint64_t offset, std::uint64_t length);

class ServingQueue {
  public:
    /// Behind the others of its kind.
    void push(std::unique_ptr<Serving> serving);
    /// The next that is not waiting for the disk; empty when there is none.
    [[nodiscard]] std::unique_ptr<Serving> pop_ready();
    [[nodiscard]] std::unique_ptr<Serving> take(RequestId request);
    [[nodiscard]] std::unique_ptr<Serving> take_any();
    [[nodiscard]] Serving* by_serial(std::uint64_t serial);
    [[nodiscard]] bool empty() const { return urgent_.empty() && normal_.empty(); }

  private:
    using Line = std::deque<std::unique_ptr<Serving>>;
    Line urgent_;
    Line normal_;
};

}  // namespace fastreg::transport::tcp
