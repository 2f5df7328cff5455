// Two nodes meet: versions, cluster, identity, and the proof that both have the cluster key.
// Frames in, frames out; no clock (the driver bounds the whole with a deadline). One link, one thread.
//
//   initiator                     responder
//   Hello  ------------------------->
//          <------------------------- Hello
//   Proof  ------------------------->            (only with a key)
//          <------------------------- Proof
//
// Each Proof is HMAC(K, role of the prover || Hello frame of the initiator || Hello frame of the
// responder). The responder proves last, so that a stranger who dials learns nothing of the key.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/frame.h"
#include "wire/hello.h"

namespace fastreg::wire {

enum class Role { initiator, responder };

/// K of a key file; white space around the key does not count.
[[nodiscard]] Mac link_key(std::string_view key_file);

class Handshake {
  public:
    using Frames = std::vector<Frame>;

    /// Without a key both ends must be without one. `remote` is the address of the other end, for
    /// errors. `mine.keyed` is set here, and `mine.purpose` of a responder is taken from the initiator.
    Handshake(Role role, Hello mine, std::optional<Mac> key, std::string remote);

    /// What to send first; empty for a responder.
    [[nodiscard]] Frames start();
    /// What to send in answer. An error ends the link: send farewell() if there is one, then close.
    [[nodiscard]] Result<Frames> on_frame(const Frame& frame);

    /// All was said and proven: frames that follow belong to the caller.
    [[nodiscard]] bool done() const { return step_ == Step::done; }
    /// After done().
    [[nodiscard]] const Hello& peer() const { return peer_; }
    /// What its Hello claimed; before done() nothing of it is proven.
    [[nodiscard]] const Hello& heard() const { return peer_; }
    [[nodiscard]] const Hello& mine() const { return mine_; }
    [[nodiscard]] std::uint16_t version() const { return version_; }
    /// What both ends can do.
    [[nodiscard]] std::uint64_t features() const { return mine_.features & peer_.features; }

    /// Why it failed, on whichever side; nothing as long as it did not.
    [[nodiscard]] std::optional<CloseCode> failure() const { return failure_; }
    /// The Close that tells the peer why; nothing when the peer closed or nothing failed.
    [[nodiscard]] const std::optional<Frame>& farewell() const { return farewell_; }

  private:
    enum class Step { start, hello, proof, done, failed };

    tl::unexpected<Error> refuse(CloseCode code, std::string what);
    tl::unexpected<Error> on_close(const Frame& frame);
    Result<Frames> on_hello(const Frame& frame);
    Result<Frames> on_proof(const Frame& frame);
    Status judge(const Frame& frame);
    Frame say_hello();
    [[nodiscard]] Mac proof_of(Role prover) const;

    Role role_;
    Hello mine_;
    std::optional<Mac> key_;
    std::string remote_;
    Step step_ = Step::start;
    Hello peer_;
    std::uint16_t version_ = 0;
    Bytes my_hello_;
    Bytes peer_hello_;
    std::optional<CloseCode> failure_;
    std::optional<Frame> farewell_;
};

}  // namespace fastreg::wire
