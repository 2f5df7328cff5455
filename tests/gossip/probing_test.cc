// How one core finds out who answers, and when it blames itself instead.
#include <doctest/doctest.h>

#include "gossip/suspicion.h"
#include "tests/gossip/bench.h"

using namespace fastreg;
using namespace fastreg::gossip;
using namespace fastreg::gossip::test;

namespace {

/// Answers every ping to the members of `alive` at once.
void answer(Bench& bench, const std::vector<std::size_t>& alive) {
    for (const auto& [to, ping] : bench.sent<wire::Ping>()) {
        for (const std::size_t n : alive) {
            if (to == id_of(n)) bench.from(n, wire::Ack{ping.sequence});
        }
    }
    bench.clear();
}

}  // namespace

TEST_CASE("everybody is probed once a round") {
    // The time to detection is bounded by it.
    Bench bench;
    for (std::size_t n = 1; n <= 10; ++n) bench.meet(n);
    bench.pass(100ms);
    bench.clear();
    std::map<NodeId, int> probed;
    for (int turn = 0; turn < 20; ++turn) {
        bench.pass(1s);
        for (const auto& [to, ping] : bench.sent<wire::Ping>()) {
            CHECK(ping.target == to);
            ++probed[to];
        }
        answer(bench, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
    }
    CHECK(probed.size() == 10);
    for (const auto& [id, count] : probed) CHECK(count <= 3);
}

TEST_CASE("a member that answers neither directly nor through helpers is suspected, and told so") {
    // SWIM's two steps: a broken path between two nodes is no death.
    Bench bench;
    for (std::size_t n = 1; n <= 5; ++n) bench.meet(n);
    for (std::size_t n = 1; n <= 5; ++n) bench.core.on_link_up(bench.now, id_of(n), bench.out);
    std::vector<std::pair<NodeId, wire::PingRequest>> requests;
    for (int turn = 0; turn < 30 && requests.empty(); ++turn) {
        bench.pass(300ms);
        requests = bench.sent<wire::PingRequest>();
        answer(bench, {1, 2, 3, 4});
    }
    REQUIRE(requests.size() == 3);
    for (const auto& [helper, request] : requests) {
        CHECK(request.target == id_of(5));
        CHECK(request.address == address_of(5));
        CHECK(helper != id_of(5));
    }
    SUBCASE("a helper reaches it") {
        for (std::size_t n = 1; n <= 4; ++n) {
            if (id_of(n) == requests[0].first) bench.from(n, wire::Ack{requests[0].second.sequence});
        }
        bench.pass(3s);
        CHECK(bench.core.local_health() <= 3);
    }
    SUBCASE("no helper reaches it, and all say so") {
        for (const auto& [helper, request] : requests) {
            for (std::size_t n = 1; n <= 4; ++n) {
                if (id_of(n) == helper) bench.from(n, wire::Nack{request.sequence});
            }
        }
        const unsigned before = bench.core.local_health();
        bench.clear();
        bench.pass(1s);
        CHECK(bench.state(5) == MemberState::suspect);
        CHECK(bench.core.local_health() <= before);  // the helpers vouch for this node
        bool told = false;
        for (const Send& send : bench.all<Send>()) {
            if (send.to != id_of(5) || send.message.updates.empty()) continue;
            told |= send.message.updates[0].subject.id == id_of(5) &&
                    send.message.updates[0].subject.state == MemberState::suspect;
        }
        CHECK(told);
    }
    SUBCASE("nobody says anything: this node doubts itself") {
        bench.pass(1s);
        CHECK(bench.core.local_health() >= 2);
    }
}

TEST_CASE("how long an answer took is told for a probe over an open link, and for no other") {
    // A dial and a handshake would look like a slow network.
    for (const bool open : {true, false}) {
        CAPTURE(open);
        Bench bench;
        bench.meet(1);
        if (open) bench.core.on_link_up(bench.now, id_of(1), bench.out);
        std::vector<std::pair<NodeId, wire::Ping>> pings;
        for (int turn = 0; turn < 2000 && pings.empty(); ++turn) {
            bench.pass(1ms);
            pings = bench.sent<wire::Ping>();
        }
        REQUIRE(pings.size() == 1);
        bench.pass(3ms);
        bench.from(1, wire::Ack{pings[0].second.sequence});
        const auto answered = bench.all<ProbeAnswered>();
        REQUIRE(answered.size() == (open ? 1 : 0));
        if (!open) continue;
        CHECK(answered[0].by == id_of(1));
        CHECK(answered[0].took >= 3ms);
        CHECK(answered[0].took <= 4ms);
        CHECK(bench.core.rtt(id_of(1)) == answered[0].took);
    }
}

TEST_CASE("an answer counts only from whom it was asked") {
    // Anybody can send an Ack with a guessed number.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    for (int turn = 0; turn < 40; ++turn) {
        bench.pass(250ms);
        for (const auto& [to, ping] : bench.sent<wire::Ping>()) {
            if (to == id_of(2)) bench.from(1, wire::Ack{ping.sequence});  // in the name of node 2
        }
        answer(bench, {1});
    }
    CHECK(bench.state(2) != MemberState::alive);
    CHECK(bench.state(1) == MemberState::alive);
}

TEST_CASE("a helper pings, passes the answer on, and says when there is none yet") {
    // The asker tells a dead target from a sick helper by it.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.clear();
    bench.from(1, wire::PingRequest{77, id_of(2), address_of(2)});
    const auto pings = bench.sent<wire::Ping>();
    REQUIRE(pings.size() == 1);
    CHECK(pings[0].first == id_of(2));
    SUBCASE("it answers") {
        bench.from(2, wire::Ack{pings[0].second.sequence});
        const auto acks = bench.sent<wire::Ack>();
        REQUIRE(acks.size() == 1);
        CHECK(acks[0].first == id_of(1));
        CHECK(acks[0].second.sequence == 77);
    }
    SUBCASE("it does not") {
        bench.pass(450ms);
        const auto nacks = bench.sent<wire::Nack>();
        REQUIRE(nacks.size() == 1);
        CHECK(nacks[0].second.sequence == 77);
    }
    SUBCASE("it cannot be reached") {
        bench.core.on_send_failed(bench.now, id_of(2), address_of(2), true, bench.out);
        CHECK(bench.sent<wire::Nack>().size() == 1);
        bench.pass(450ms);
        CHECK(bench.sent<wire::Nack>().size() == 1);
    }
}

TEST_CASE("a helper dials members only, at the address it knows itself") {
    // Otherwise a member could make the mesh knock at any address.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.clear();
    bench.from(1, wire::PingRequest{1, id_of(99), {"192.0.2.1", 22}});
    CHECK(bench.sent<wire::Ping>().empty());
    bench.from(1, wire::PingRequest{2, id_of(2), {"192.0.2.1", 22}});
    for (const Send& send : bench.all<Send>()) CHECK(send.address.host != "192.0.2.1");
}

TEST_CASE("a ping for somebody else is not answered as if it were for this node") {
    // A process under another id at an old address must not vouch for its predecessor.
    Bench bench;
    bench.meet(1);
    bench.clear();
    bench.from(1, wire::Ping{5, id_of(44), record(1)});
    CHECK(bench.sent<wire::Ack>().empty());
    CHECK(bench.said(0, MemberState::alive));  // says who listens here instead
}

TEST_CASE("a dead member that calls is told so, and believed when it refutes") {
    // It may have been cut off for an hour and know nothing of its own funeral.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.told(1, claim(2, 1, MemberState::dead));
    bench.pass(3s);
    bench.clear();
    bench.from(2, wire::Ping{9, id_of(0), record(2)});
    CHECK(bench.state(2) == MemberState::dead);
    CHECK(bench.said(2, MemberState::dead));
    bench.from(2, wire::Ping{10, id_of(0), record(2, 1, 1)});
    CHECK(bench.state(2) == MemberState::alive);
}

TEST_CASE("more accusers bring the end nearer, and the same one twice does not") {
    // Lifeguard's trade: slow when alone, fast when many agree.
    const Options options;
    const auto [min, max] = Suspicions::range(options, 1'000);
    CHECK(min == 12s);
    CHECK(max == 72s);
    CHECK(Suspicions::range(options, 2).first == 4s);
    Suspicions clocks(options);
    const Instant t0{0};
    clocks.start(t0, id_of(1), id_of(2), 1'000);
    CHECK(clocks.next_deadline() == t0 + max);
    CHECK_FALSE(clocks.confirm(t0 + 1s, id_of(1), id_of(2)));
    CHECK(clocks.confirm(t0 + 1s, id_of(1), id_of(3)));
    CHECK(clocks.next_deadline() < t0 + 40s);
    CHECK(clocks.next_deadline() > t0 + min);
    CHECK(clocks.confirm(t0 + 1s, id_of(1), id_of(4)));
    CHECK(clocks.next_deadline() == t0 + min);
    CHECK_FALSE(clocks.confirm(t0 + 1s, id_of(1), id_of(5)));
    CHECK(clocks.expired(t0 + min - 1ms).empty());
    CHECK(clocks.expired(t0 + min).size() == 1);
    CHECK(clocks.next_deadline() == Instant::never());
}

TEST_CASE("invented accusers do not shorten a suspicion") {
    // One member could otherwise confirm its own lie under a hundred names.
    Bench bench;
    for (std::size_t n = 1; n <= 6; ++n) bench.meet(n);
    bench.told(1, claim(5, 1, MemberState::suspect));
    for (std::size_t n = 100; n < 120; ++n) bench.told(1, claim(5, n, MemberState::suspect));
    // Nobody answers this bench's own probes, so it will accuse 5 as well: one confirmation, not twenty.
    bench.pass(5s);
    CHECK(bench.state(5) == MemberState::suspect);
}

TEST_CASE("a node that was stopped does not take its own silence for the others'") {
    // SIGSTOP, a swap storm, a suspended machine: all clocks ran out while nobody could answer.
    Bench bench;
    for (std::size_t n = 1; n <= 6; ++n) bench.meet(n);
    bench.told(1, claim(5, 1, MemberState::suspect));
    bench.pass(200ms);
    bench.now = bench.now + 300s;
    bench.core.on_deadline(bench.now, bench.out);
    CHECK(bench.state(5) == MemberState::suspect);
    for (const std::size_t n : {1, 2, 3, 4, 6}) CHECK(bench.state(n) == MemberState::alive);
}

TEST_CASE("deadlines that are early or come twice do nothing") {
    // The driver's timer is rounded, and it may wake for other cores.
    Bench bench;
    bench.meet(1);
    bench.pass(10ms);
    bench.clear();
    const Instant next = bench.core.next_deadline();
    for (int i = 0; i < 5; ++i) bench.core.on_deadline(next - 1ms, bench.out);
    CHECK(bench.out.empty());
    CHECK(bench.core.next_deadline() == next);
}
