// Hands out the chains of blobs that are whole here: the 64 last used stay in memory, others are asked
// of the store. Inside the core only.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <vector>

#include "transfer/context.h"

namespace fastreg::transfer {

class ChainServer {
  public:
    explicit ChainServer(Context& context) : context_(context) {}

    /// A request for a blob that is whole here.
    void on_request(const NodeId& from, const wire::ChainRequest& message, Outbox& out);
    /// The store's answer.
    void on_chain(const Digest& digest, const Result<Chain>& chain, Outbox& out);
    void keep(const Digest& digest, const Chain& chain);
    void forget(const Digest& digest);

  private:
    static constexpr std::size_t kWaitingMax = 256;  // of all blobs
    struct Waiting {
        NodeId from;
        wire::ChainRequest ask;
    };
    struct Entry {
        Digest digest;
        Chain chain;
    };
    void answer(const NodeId& from, const wire::ChainRequest& message, const Chain* chain, Outbox& out) const;

    Context& context_;
    std::list<Entry> kept_;  // most recently used first
    std::map<Digest, std::vector<Waiting>> waiting_;
    std::size_t waiting_count_ = 0;
};

}  // namespace fastreg::transfer
