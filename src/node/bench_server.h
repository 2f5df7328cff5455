// The answering end of `fastreg bench`: gives members the chunks of node/bench_blob.h from memory. It never
// touches the store, serves one member at a time, and so many chunks at once and for so long. Loop thread only.
#pragma once

#include <memory>
#include <set>
#include <utility>

#include "base/instant.h"
#include "transport/data.h"

namespace fastreg::node {

class BenchServer {
  public:
    static constexpr std::size_t kServesMax = 64;
    /// Another member has its turn when the one before it was quiet so long.
    static constexpr Duration kQuiet = 2s;
    /// Nobody measures longer than that without being quiet in between.
    static constexpr Duration kLongest = 600s;

    /// Whether it is a request for a bench chunk. If so it is answered, through `transport`.
    [[nodiscard]] bool on_message(Instant now,
                                  NodeId from,
                                  const wire::TransferMessage& message,
                                  transport::DataTransport& transport);
    [[nodiscard]] bool serves(NodeId to, RequestId request) const { return open_.contains({to, request}); }
    /// Whether the serve was this server's.
    [[nodiscard]] bool on_served(NodeId to, RequestId request);

  private:
    [[nodiscard]] bool takes(Instant now, NodeId from);

    NodeId member_;  // whose turn it is
    Instant since_;
    Instant last_;
    std::multiset<std::pair<NodeId, RequestId>> open_;  // a peer may use an id twice
    std::shared_ptr<const transport::FileRef> chunk_;   // made when first asked for
};

}  // namespace fastreg::node
