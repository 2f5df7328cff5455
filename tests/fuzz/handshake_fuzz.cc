// A stranger without the key talks to a node, and a meddler changes a byte between two honest nodes:
// neither may end in a link.
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <utility>

#include "wire/handshake.h"

using namespace fastreg;
using namespace fastreg::wire;

namespace {

Hello hello_of(std::uint8_t who) {
    Hello hello;
    hello.cluster_hash = hash_of_cluster("fuzz");
    hello.node_id.bytes[0] = std::byte{who};
    hello.nonce.fill(std::byte{who});
    hello.name = "node";
    hello.gossip = Endpoint{"10.0.0.1", 7946};
    return hello;
}

const Mac kKey = link_key("a key that no fuzzer has");

void stranger(Role role, ByteView input) {
    Handshake node(role, hello_of(1), kKey, "fuzz");
    (void)node.start();
    FrameReader reader;
    reader.feed(input);
    for (;;) {
        const auto frame = reader.next();
        if (!frame || !frame->has_value()) return;
        const auto answer = node.on_frame(**frame);
        if (node.done()) std::abort();
        if (!answer && !node.failure()) std::abort();
        if (answer && node.failure()) std::abort();
    }
}

/// Carries the frames of two nodes with one key; flips `bit` of the byte `at` of frame `which`.
void meddle(unsigned which, std::size_t at, std::uint8_t bit) {
    Handshake a(Role::initiator, hello_of(1), kKey, "b");
    Handshake b(Role::responder, hello_of(2), kKey, "a");
    std::deque<std::pair<Handshake*, Frame>> on_the_way;
    (void)b.start();
    for (auto& frame : a.start()) on_the_way.emplace_back(&b, std::move(frame));
    bool changed = false;
    for (unsigned n = 0; !on_the_way.empty(); ++n) {
        auto [to, frame] = std::move(on_the_way.front());
        on_the_way.pop_front();
        if (to->failure() || to->done()) continue;
        Bytes bytes = encode_frame(frame);
        if (n == which && at < bytes.size() && bit != 0) {
            bytes[at] ^= std::byte{bit};
            changed = true;
        }
        FrameReader reader;
        reader.feed(bytes);
        const auto arrived = reader.next();
        if (!arrived || !arrived->has_value()) return;
        auto answer = to->on_frame(**arrived);
        if (!answer) continue;
        for (auto& next : *answer) on_the_way.emplace_back(to == &a ? &b : &a, std::move(next));
    }
    if (!changed && !(a.done() && b.done())) std::abort();
    // The last Proof arrives after the responder is done; whatever is changed in the three frames
    // before it, neither side may believe.
    const bool header_of_proof = which >= 2 && at < kFrameHeaderSize;  // not under the MAC, not read
    if (changed && which < 3 && !header_of_proof && (a.done() || b.done())) std::abort();
    if (changed && which == 3 && !header_of_proof && a.done()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 4) return 0;
    const ByteView rest(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
    switch (data[0] % 3) {
        case 0: stranger(Role::initiator, rest); break;
        case 1: stranger(Role::responder, rest); break;
        default: meddle(data[1] % 4, data[2], data[3]); break;
    }
    return 0;
}
