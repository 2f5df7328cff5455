// The fixed layouts of RDMA: greetings in private data, requests and their ends.
#include "wire/rdma.h"

#include <doctest/doctest.h>

namespace fastreg::wire {
namespace {

NodeId node(unsigned char number) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(number);
    id.bytes[15] = std::byte{7};
    return id;
}

Mac key(unsigned char fill) {
    Mac mac;
    mac.fill(static_cast<std::byte>(fill));
    return mac;
}

RdmaHello hello() {
    RdmaHello h;
    h.depth = 16;
    h.cluster_hash = 0x1122334455667788;
    h.node_id = node(1);
    h.nonce.fill(std::byte{9});
    h.keyed = true;
    h.mac = rdma_hello_mac(key(1), h, node(2));
    return h;
}

RdmaRequest request() {
    RdmaRequest m;
    m.request = 0x8000000000000005;
    m.generation = 7;
    m.address = 0x7fff12345000;
    m.key = 0xabcdef01;
    m.room = 4 << 20;
    m.digest = digest_of(HashAlg::sha512, as_bytes("blob"));
    m.blob_size = 8ULL << 30U;
    m.chunk = 2047;
    m.urgent = true;
    return m;
}

TEST_CASE("every message comes back as it was, in its fixed length") {
    // A node of another version reads the same layout: lengths and places never move.
    RdmaNack busy{5, 7, RdmaNack::Why::busy, false, {node(3), node(4)}};
    RdmaNack absent{5, 7, RdmaNack::Why::not_here, true, {}};
    RdmaProof proof;
    proof.mac.fill(std::byte{3});
    for (const RdmaMessage& m : {RdmaMessage(request()), RdmaMessage(RdmaDone{5, 7, 4 << 20}), RdmaMessage(busy),
                                 RdmaMessage(absent), RdmaMessage(RdmaCancel{5, 7}), RdmaMessage(proof)}) {
        const Bytes bytes = encode_rdma(m);
        CHECK(bytes.size() == (std::holds_alternative<RdmaRequest>(m) ? kRdmaMessageMax : kRdmaInlineMax));
        const auto back = decode_rdma(bytes);
        REQUIRE(back);
        CHECK(*back == m);
    }
}

TEST_CASE("a request that would not fit its slot, its blob or its grid is refused") {
    // The responder writes into another node's memory on the word of this message.
    const auto refused = [](auto change) {
        RdmaRequest m = request();
        change(m);
        return !decode_rdma(encode_rdma(m)).has_value();
    };
    CHECK_FALSE(refused([](RdmaRequest&) {}));
    CHECK(refused([](RdmaRequest& m) { m.room = (4 << 20) - 1; }));
    CHECK(refused([](RdmaRequest& m) { m.room = (4 << 20) + 1; }));
    CHECK(refused([](RdmaRequest& m) { m.chunk = 2048; }));
    CHECK(refused([](RdmaRequest& m) { m.blob_size = kBlobSizeMax + 1; }));
    CHECK(refused([](RdmaRequest& m) { m.request = 0; }));
}

TEST_CASE("bytes that are no message are refused, whatever they are") {
    // A registered receive buffer holds what a stranger sent.
    for (std::size_t size = 0; size < 200; ++size) {
        if (size == kRdmaInlineMax || size == kRdmaMessageMax) continue;
        CHECK_FALSE(decode_rdma(Bytes(size, std::byte{2})).has_value());
    }
    for (int type = 0; type < 256; ++type) {
        Bytes bytes(kRdmaInlineMax);
        bytes[0] = static_cast<std::byte>(type);
        bytes[3] = std::byte{3};  // a Nack of three nodes, an unknown reason: both wrong
        const bool known = type == 1 || type == 3 || type == 5;
        CHECK(decode_rdma(bytes).has_value() == known);
    }
    Bytes request_as_short = encode_rdma(request());
    request_as_short.resize(kRdmaInlineMax);
    CHECK_FALSE(decode_rdma(request_as_short).has_value());
    Bytes wrong_hash = encode_rdma(request());
    wrong_hash[2] = std::byte{3};
    CHECK_FALSE(decode_rdma(wrong_hash).has_value());
}

TEST_CASE("a greeting comes back, padded or not, and not from fewer bytes") {
    // The connection manager of InfiniBand pads private data with zeros.
    const Bytes bytes = encode_rdma_hello(hello());
    CHECK(bytes.size() == kRdmaHelloSize);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        CHECK_FALSE(decode_rdma_hello(ByteView(bytes).first(size)).has_value());
    }
    Bytes padded = bytes;
    padded.resize(196);
    const auto back = decode_rdma_hello(padded);
    REQUIRE(back);
    CHECK(*back == hello());
    for (const std::size_t at : {0U, 4U}) {  // magic, version
        Bytes other = bytes;
        other[at] ^= std::byte{1};
        CHECK_FALSE(decode_rdma_hello(other).has_value());
    }
    RdmaHello deep = hello();
    deep.depth = kRdmaDepthMax + 1;
    CHECK_FALSE(decode_rdma_hello(encode_rdma_hello(deep)).has_value());
    deep.depth = 0;
    CHECK_FALSE(decode_rdma_hello(encode_rdma_hello(deep)).has_value());
}

TEST_CASE("a proof is good between two nodes, once") {
    // What is read off the wire must be of no use with another node, nonce, key or role.
    const RdmaHello first = hello();
    CHECK(rdma_hello_mac(key(1), first, node(3)) != first.mac);
    CHECK(rdma_hello_mac(key(2), first, node(2)) != first.mac);
    RdmaHello again = first;
    again.nonce[0] = std::byte{1};
    CHECK(rdma_hello_mac(key(1), again, node(2)) != first.mac);

    RdmaWelcome welcome{16, first.cluster_hash, node(2), {}, true, {}};
    welcome.mac = rdma_welcome_mac(key(1), first, welcome);
    RdmaWelcome other = welcome;
    other.nonce[3] = std::byte{1};
    CHECK(rdma_welcome_mac(key(1), first, other) != welcome.mac);
    CHECK(rdma_proof_mac(key(1), first, welcome) != rdma_proof_mac(key(1), first, other));
    CHECK(rdma_proof_mac(key(1), first, welcome) != rdma_proof_mac(key(1), again, welcome));
    CHECK(rdma_proof_mac(key(1), first, welcome) != welcome.mac);
    const auto back = decode_rdma_welcome(encode_rdma_welcome(welcome));
    REQUIRE(back);
    CHECK(*back == welcome);
}

TEST_CASE("a refusal says why in words that may be printed") {
    // Its text goes to a terminal.
    const RdmaReject reject{CloseCode::wrong_key, "the key of this mesh is another\x1b[31m"};
    const auto back = decode_rdma_reject(encode_rdma_reject(reject));
    REQUIRE(back);
    CHECK(back->code == CloseCode::wrong_key);
    CHECK(back->text == "the key of this mesh is another?[31m");
    const auto cut = decode_rdma_reject(encode_rdma_reject({CloseCode::busy, std::string(500, 'x')}));
    REQUIRE(cut);
    CHECK(cut->text.size() == 120);
    CHECK_FALSE(decode_rdma_reject(as_bytes("not FastReg's")));
    Bytes lying = encode_rdma_reject(reject);
    lying[6] = std::byte{255};
    CHECK_FALSE(decode_rdma_reject(lying));
}

}  // namespace
}  // namespace fastreg::wire
