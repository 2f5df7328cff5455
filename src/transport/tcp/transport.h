// Chunks over TCP. The face is on the loop thread (transport/data.h); connections live on the io
// threads from their handshake to their close: a peer belongs to the thread its node id hashes to.
// One connection per direction and peer pair; the dialling side's requests travel on it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/instant.h"
#include "transport/data.h"
#include "transport/identity.h"

namespace fastreg::uv {
class Loop;
class LoopThread;
}  // namespace fastreg::uv

namespace fastreg::transport {

class TcpTransport final : public DataTransport {
  public:
    struct Options {
        Identity identity;
        Endpoint listen;  // numeric; port 0 means any
        std::string listen_flag = "--transfer-listen";
        /// At least one; they outlive this object and every block of the pool.
        std::vector<uv::LoopThread*> threads;
        /// Shared; its on_freed must call blocks_freed(). Empty: the transport makes one of
        /// `own_blocks` blocks of 256 KiB and needs nothing from outside.
        std::shared_ptr<BlockPool> blocks;
        std::size_t own_blocks = 192;
        std::size_t links_max = 4096;       // inbound
        std::size_t handshakes_max = 256;   // inbound and not yet through; the oldest makes room
        std::size_t requests_in_max = 64;   // open requests of one connection; more are told Busy
        Duration connect_timeout = 1s;      // one address
        Duration handshake_timeout = 2s;
        Duration idle = 120s;               // a connection without traffic is closed
    };

    TcpTransport(uv::Loop& loop, Options options, DataHandler& handler);
    /// Closes everything; no call comes after.
    ~TcpTransport() override;
    TcpTransport(const TcpTransport&) = delete;
    TcpTransport& operator=(const TcpTransport&) = delete;

    /// The port that is listened on.
    [[nodiscard]] Result<std::uint16_t> listen();
    /// What the Hellos of later links say, once the port is known.
    void set_advertised(Endpoint gossip);
    /// The pool of landing blocks.
    [[nodiscard]] const std::shared_ptr<BlockPool>& blocks() const;
    /// Any thread: connections that waited for a block go on.
    void blocks_freed();

    void send(NodeId to, const Endpoint& address, wire::TransferMessage message) override;
    void fetch(FetchOrder order) override;
    void cancel_fetch(NodeId from, RequestId request) override;
    void serve(ServeOrder order) override;
    void cancel_serve(NodeId to, RequestId request) override;
    void drop(NodeId peer, const std::string& why) override;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg::transport
