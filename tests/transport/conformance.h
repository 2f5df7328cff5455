// What every bulk transport promises (transport/data.h), as stories over two connected ends. A factory
// has `uv::Loop& loop()`, `Side& a()`, `Side& b()`, `void lose_b()`, which ends b without notice,
// `void warm()`, after which chunks go the way that is tested, `int blocks_of_a_big_chunk()` and
// `void check_used()`, which fails when that way was not taken.
#pragma once

#include "support.h"

namespace fastreg::transport::test {

struct Side {
    NodeId id;
    Endpoint address;
    Endpoint rdma;
    DataTransport* transport = nullptr;
    Recorder events;
};

inline FetchOrder order_from(const Side& side, RequestId request, std::shared_ptr<ChunkSink> sink,
                             std::uint64_t blob_size = kBigBlob) {
    FetchOrder order;
    order.from = side.id;
    order.address = side.address;
    order.request = request;
    order.digest = some_digest();
    order.blob_size = blob_size;
    order.chunk = 0;
    order.sink = std::move(sink);
    return order;
}

inline ServeOrder serve_to(NodeId to, RequestId request, std::shared_ptr<const FileRef> file,
                           std::uint64_t offset, std::uint64_t length) {
    ServeOrder order;
    order.to = to;
    order.request = request;
    order.file = std::move(file);
    order.file_offset = offset;
    order.length = length;
    return order;
}

template <class Factory>
void check_data_transport() {
    Factory world;
    uv::Loop& loop = world.loop();
    Side& a = world.a();
    Side& b = world.b();
    const auto wait = [&](const std::function<bool()>& holds) { return until(loop, holds); };

    SUBCASE("a chunk of many pieces arrives whole and in order; each side is told once") {
        world.warm();
        const Bytes content = pattern(kBigChunk + 1000);
        const auto file = std::make_shared<MemoryFile>(content);
        b.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            CHECK(from == a.id);
            CHECK(get.size == kBigBlob);
            b.transport->serve(serve_to(from, get.request, file, 1000, kBigChunk));
        };
        const auto sink = std::make_shared<CollectingSink>();
        a.transport->fetch(order_from(b, 7, sink));
        CHECK(a.events.done.empty());
        REQUIRE(wait([&] { return a.events.done.contains(7) && b.events.served.contains(7); }));
        CHECK(a.events.ended(7, FetchEnd::all_sent_to_sink));
        CHECK(sink->in_order());
        CHECK(sink->calls() == world.blocks_of_a_big_chunk());
        CHECK(sink->bytes() == Bytes(content.begin() + 1000, content.end()));
        CHECK(b.events.served[7] == std::pair{true, kBigChunk});
        CHECK(a.events.progress[7] == kBigChunk);
        CHECK(a.events.ups == 1);
        CHECK(b.events.ups == 1);
        world.check_used();
    }

    SUBCASE("an empty blob has one empty chunk") {
        world.warm();
        const auto file = std::make_shared<MemoryFile>(Bytes{});
        b.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            b.transport->serve(serve_to(from, get.request, file, 0, 0));
        };
        const auto sink = std::make_shared<CollectingSink>();
        a.transport->fetch(order_from(b, 1, sink, 0));
        REQUIRE(wait([&] { return a.events.done.contains(1) && b.events.served.contains(1); }));
        CHECK(a.events.ended(1, FetchEnd::all_sent_to_sink));
        CHECK(sink->calls() == 1);
        CHECK(b.events.served[1] == std::pair{true, std::uint64_t{0}});
    }

    SUBCASE("messages come in the order they were sent, both ways") {
        for (ChunkIndex i = 0; i < 500; ++i) {
            a.transport->send(b.id, b.address, wire::Have{some_digest(), {i}});
            b.transport->send(a.id, a.address, wire::Have{some_digest(), {i}});
        }
        REQUIRE(wait([&] { return a.events.messages.size() == 500 && b.events.messages.size() == 500; }));
        for (ChunkIndex i = 0; i < 500; ++i) {
            CHECK(std::get<wire::Have>(a.events.messages[i]).chunks.front() == i);
            CHECK(std::get<wire::Have>(b.events.messages[i]).chunks.front() == i);
        }
    }

    SUBCASE("Busy and NotHere end the fetch, after their message") {
        world.warm();
        b.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            if (get.request == 1) {
                b.transport->send(from, a.address, wire::Busy{get.request, get.digest, {node(9)}});
            } else {
                b.transport->send(from, a.address, wire::NotHere{get.request, get.digest, true});
            }
        };
        a.transport->fetch(order_from(b, 1, std::make_shared<CollectingSink>()));
        a.transport->fetch(order_from(b, 2, std::make_shared<CollectingSink>()));
        REQUIRE(wait([&] { return a.events.done.size() == 2; }));
        CHECK(a.events.ended(1, FetchEnd::busy));
        CHECK(a.events.ended(2, FetchEnd::not_here));
        REQUIRE(a.events.messages.size() == 2);
        CHECK(std::get<wire::Busy>(a.events.messages[0]).try_instead == std::vector{node(9)});
    }

    SUBCASE("a cancelled fetch ends for both sides and the link stays good") {
        world.warm();
        const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
        b.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            b.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
        };
        for (RequestId i = 1; i <= 20; ++i) {
            a.transport->fetch(order_from(b, i, std::make_shared<CollectingSink>()));
        }
        REQUIRE(wait([&] { return !a.events.progress.empty(); }));
        for (RequestId i = 1; i <= 20; ++i) a.transport->cancel_fetch(b.id, i);
        const auto sink = std::make_shared<CollectingSink>();
        a.transport->fetch(order_from(b, 100, sink));
        REQUIRE(wait([&] { return a.events.done.size() == 21; }));
        REQUIRE(wait([&] { return b.events.served.contains(100); }));
        CHECK(a.events.ended(100, FetchEnd::all_sent_to_sink));
        CHECK(sink->bytes() == pattern(kBigChunk));
        int cancelled = 0;
        for (const auto& [request, end] : a.events.done) cancelled += end == FetchEnd::cancelled;
        CHECK(cancelled > 0);
        CHECK(a.events.downs == 0);
        a.transport->cancel_fetch(b.id, 100);  // ended already: nothing comes
        idle(loop, 30ms);
    }

    SUBCASE("a server that stops serving tells the asker Busy") {
        world.warm();
        const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
        b.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            b.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
            b.transport->cancel_serve(from, get.request);
        };
        a.transport->fetch(order_from(b, 1, std::make_shared<CollectingSink>()));
        REQUIRE(wait([&] { return a.events.done.contains(1) && b.events.served.contains(1); }));
        // On a fast link the whole chunk may be out before the word reaches the io thread.
        if (b.events.served[1].first) {
            CHECK(a.events.ended(1, FetchEnd::all_sent_to_sink));
        } else {
            CHECK(a.events.ended(1, FetchEnd::busy));
        }
    }

    SUBCASE("a file that is shorter than it should be is NotHere for the asker, not a hang") {
        world.warm();
        const auto file = std::make_shared<MemoryFile>(pattern(300 << 10));
        b.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            b.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
        };
        a.transport->fetch(order_from(b, 1, std::make_shared<CollectingSink>()));
        REQUIRE(wait([&] { return a.events.done.contains(1) && b.events.served.contains(1); }));
        CHECK(a.events.ended(1, FetchEnd::not_here));
        CHECK_FALSE(b.events.served[1].first);
        CHECK(a.events.downs == 0);
    }

    SUBCASE("serving what nobody asked for, or asked and cancelled, is told and sends nothing") {
        const auto file = std::make_shared<MemoryFile>(pattern(10));
        b.transport->serve(serve_to(a.id, 5, file, 0, 10));
        REQUIRE(wait([&] { return b.events.served.contains(5); }));
        CHECK(b.events.served[5] == std::pair{false, std::uint64_t{0}});
        CHECK(a.events.messages.empty());
    }

    SUBCASE("a peer that cannot be reached loses the fetch, then the link, with a reason") {
        world.lose_b();
        a.transport->fetch(order_from(b, 1, std::make_shared<CollectingSink>()));
        REQUIRE(wait([&] { return a.events.downs == 1; }));
        CHECK(a.events.ended(1, FetchEnd::link_lost));
        CHECK_FALSE(a.events.why.empty());
        CHECK(a.events.ups == 0);
    }

    SUBCASE("a peer that dies in the middle of a chunk loses the fetch") {
        world.warm();
        b.events.on_get = [&](NodeId, const wire::GetChunk&) {};  // asks, gets nothing
        a.transport->fetch(order_from(b, 1, std::make_shared<CollectingSink>()));
        a.transport->fetch(order_from(b, 2, std::make_shared<CollectingSink>()));
        REQUIRE(wait([&] { return b.events.asked.size() == 2; }));
        world.lose_b();
        REQUIRE(wait([&] { return a.events.downs == 1; }));
        CHECK(a.events.ended(1, FetchEnd::link_lost));
        CHECK(a.events.ended(2, FetchEnd::link_lost));
    }

    SUBCASE("drop ends what is under way; the next fetch connects again") {
        world.warm();
        a.transport->fetch(order_from(b, 1, std::make_shared<CollectingSink>()));
        REQUIRE(wait([&] { return b.events.asked.size() == 1; }));
        a.transport->drop(b.id, "no byte for 2 s");
        REQUIRE(wait([&] { return a.events.downs == 1 && b.events.downs == 1; }));
        CHECK(a.events.ended(1, FetchEnd::link_lost));
        CHECK(a.events.why == "no byte for 2 s");
        const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
        b.transport->serve(serve_to(a.id, 1, file, 0, kBigChunk));  // too late
        b.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            b.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
        };
        a.transport->fetch(order_from(b, 2, std::make_shared<CollectingSink>()));
        REQUIRE(wait([&] { return a.events.done.contains(2); }));
        CHECK(a.events.ended(2, FetchEnd::all_sent_to_sink));
        REQUIRE(wait([&] { return b.events.served.contains(1) && b.events.served.contains(2); }));
        CHECK_FALSE(b.events.served[1].first);
    }

    SUBCASE("dozens of chunks both ways at once arrive whole") {
        world.warm();
        constexpr RequestId kCount = 24;
        std::map<RequestId, std::shared_ptr<CollectingSink>> sinks;
        const auto file_a = std::make_shared<MemoryFile>(pattern(kBigChunk, 5));
        const auto file_b = std::make_shared<MemoryFile>(pattern(kBigChunk, 6));
        b.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            b.transport->serve(serve_to(from, get.request, file_b, 0, kBigChunk));
        };
        a.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            a.transport->serve(serve_to(from, get.request, file_a, 0, kBigChunk));
        };
        for (RequestId i = 1; i <= kCount; ++i) {
            sinks[i] = std::make_shared<CollectingSink>();
            sinks[100 + i] = std::make_shared<CollectingSink>();
            FetchOrder urgent = order_from(b, i, sinks[i]);
            urgent.urgent = i % 8 == 0;
            a.transport->fetch(urgent);
            b.transport->fetch(order_from(a, 100 + i, sinks[100 + i]));
        }
        REQUIRE(until(loop, [&] {
            return a.events.done.size() == kCount && b.events.done.size() == kCount;
        }, 90s));
        for (const auto& [request, sink] : sinks) {
            CHECK(sink->in_order());
            CHECK(sink->bytes() == pattern(kBigChunk, request > 100 ? 5 : 6));
        }
        CHECK(a.events.ups == 1);
        CHECK(b.events.ups == 1);
        world.check_used();
    }
}

}  // namespace fastreg::transport::test
