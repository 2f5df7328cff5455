// What one core believes, and whom.
#include <doctest/doctest.h>

#include "tests/gossip/bench.h"

using namespace fastreg;
using namespace fastreg::gossip;
using namespace fastreg::gossip::test;

TEST_CASE("claims end at the same table in whatever order they come") {
    // Gossip has no order; tables that depend on it would differ for ever.
    std::vector<wire::Claim> claims = {
        record(5, 1, 0),
        claim(5, 6, MemberState::suspect, 1, 0),
        record(5, 1, 1),
        claim(5, 7, MemberState::dead, 1, 0),
        record(5, 1, 2, MemberState::stopping),
        record(5, 2, 0),
        claim(5, 6, MemberState::suspect, 2, 0),
        record(5, 2, 1),
    };
    Rng rng(3);
    for (int round = 0; round < 50; ++round) {
        Bench bench;
        for (std::size_t n : {5, 6, 7, 8}) bench.meet(n);
        rng.shuffle(claims);
        for (const auto& c : claims) bench.told(8, c);
        const Member* m = bench.core.find(id_of(5));
        REQUIRE(m != nullptr);
        CHECK(m->boot_epoch == 2);
        CHECK(m->incarnation == 1);
        CHECK(m->state == MemberState::alive);
        CHECK(bench.core.broken_invariant() == std::nullopt);
    }
}

TEST_CASE("an accused node answers with a larger incarnation, to the accuser first") {
    // Otherwise a slow answer to one probe would be a death sentence.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.clear();
    bench.told(1, claim(0, 2, MemberState::suspect));
    REQUIRE(bench.all<Refuted>().size() == 1);
    CHECK(bench.all<Refuted>()[0].by == id_of(2));
    CHECK(bench.core.self().incarnation == 1);
    const auto sends = bench.all<Send>();
    REQUIRE(sends.size() == 1);
    CHECK(sends[0].to == id_of(1));
    REQUIRE_FALSE(sends[0].message.updates.empty());
    CHECK(sends[0].message.updates[0].subject.id == id_of(0));
    CHECK(sends[0].message.updates[0].subject.incarnation == 1);
    CHECK(bench.core.local_health() == 1);

    bench.clear();
    bench.told(1, claim(0, 2, MemberState::dead, 1, 9));
    CHECK(bench.core.self().incarnation == 10);
    bench.told(1, claim(0, 2, MemberState::dead, 1, 4));  // answered already
    CHECK(bench.core.self().incarnation == 10);
    bench.told(1, claim(0, 2, MemberState::left, 1, 10));  // "replaced", but it is here
    CHECK(bench.core.self().incarnation == 11);
}

TEST_CASE("accusations of an earlier life are void") {
    // News of the crash arrives after the restart.
    Bench bench({}, 5);
    bench.meet(1);
    bench.clear();
    bench.told(1, claim(0, 2, MemberState::dead, 4, 3));
    CHECK(bench.all<Refuted>().empty());
    CHECK(bench.core.self().incarnation == 0);
}

TEST_CASE("a whole record from another member is hearsay, not the subject's word") {
    // Whoever holds the cluster key could otherwise move a member's address away.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.clear();
    bench.from(1, wire::Join{record(2, 9), 0});
    CHECK(bench.core.find(id_of(2))->boot_epoch == 1);
    CHECK(bench.all<Warn>().size() == 1);
    bench.from(1, wire::Ping{1, id_of(0), record(3)});
    CHECK_FALSE(bench.state(3));
    CHECK(bench.sent<wire::Ack>().empty());
}

TEST_CASE("hearsay cannot push an incarnation or an epoch out of reach") {
    // A member accused in the highest incarnation could never refute again.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.told(1, claim(2, 1, MemberState::dead, 1, 1'000'000'000));
    CHECK(bench.state(2) == MemberState::alive);
    wire::Claim far = record(2, std::uint64_t{1} << 50U);
    bench.told(1, far);
    CHECK(bench.core.find(id_of(2))->boot_epoch == 1);
    bench.told(1, claim(0, 1, MemberState::dead, 1, 1'000'000'000));
    CHECK(bench.core.self().incarnation == 0);
    bench.told(1, claim(2, 1, MemberState::dead, 1, 1'000));
    CHECK(bench.state(2) == MemberState::dead);
}

TEST_CASE("a death learned by comparing tables is only a suspicion") {
    // A node back from a partition holds the whole rest for dead: its table must not kill it.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.from(1, wire::SyncBuckets{{}, {claim(2, 1, MemberState::dead)}, false});
    CHECK(bench.state(2) == MemberState::suspect);
    bench.told(2, record(2, 1, 1));
    CHECK(bench.state(2) == MemberState::alive);
    bench.told(1, claim(2, 1, MemberState::dead, 1, 1));  // fresh news are believed
    CHECK(bench.state(2) == MemberState::dead);
}

TEST_CASE("nobody is added on news of a death") {
    // A table of ghosts would be probed and counted.
    Bench bench;
    bench.meet(1);
    bench.told(1, claim(7, 1, MemberState::dead));
    bench.told(1, claim(8, 1, MemberState::suspect));
    bench.told(1, record(9, 1, 0, MemberState::left));
    CHECK_FALSE(bench.state(7));
    CHECK_FALSE(bench.state(8));
    CHECK_FALSE(bench.state(9));
    CHECK(bench.core.members().size() == 1);
}

TEST_CASE("a leaver stays gone for that epoch, whatever is said in its name") {
    // Old records go round for a while after `fastreg leave`.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.told(2, record(2, 1, wire::kFinalIncarnation, MemberState::left));
    CHECK(bench.state(2) == MemberState::left);
    bench.told(1, record(2, 1, 50));
    bench.told(1, claim(2, 1, MemberState::suspect, 1, 60));
    CHECK(bench.state(2) == MemberState::left);
    bench.told(1, record(2, 2, 0));
    CHECK(bench.state(2) == MemberState::alive);
}

TEST_CASE("a member falsely called replaced may speak up, once it is believed for good") {
    // Two nodes with one address in their configuration must not evict each other without end.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.told(1, claim(2, 1, MemberState::left, 1, 0));
    CHECK(bench.state(2) == MemberState::left);
    bench.told(2, record(2, 1, 1));
    CHECK(bench.state(2) == MemberState::alive);
    for (int round = 2; round < 6; ++round) {
        bench.core.on_wrong_peer(bench.now, id_of(2), address_of(2), id_of(9), bench.out);
        if (bench.state(2) == MemberState::left) {
            CHECK(round == 2);
            bench.told(2, record(2, 1, static_cast<std::uint64_t>(round)));
        }
    }
    CHECK(bench.state(2) == MemberState::alive);
    CHECK_FALSE(bench.all<Warn>().empty());
}

TEST_CASE("whoever answers at a dead member's address has replaced it") {
    // A container with a lost volume comes back as somebody else; the old row is noise from then on.
    for (const MemberState was : {MemberState::suspect, MemberState::dead, MemberState::stopping}) {
        Bench bench;
        bench.meet(1);
        bench.meet(2);
        bench.told(1, was == MemberState::stopping ? record(2, 1, 1, was) : claim(2, 1, was));
        REQUIRE(bench.state(2) == was);
        wire::Claim fresh = record(30);
        fresh.subject.gossip = address_of(2);
        bench.clear();
        bench.told(1, fresh);  // second hand: it might be older than the one it names
        CHECK(bench.state(2) == was);
        bench.from(30, wire::Ping{1, id_of(0), fresh});
        CHECK(bench.state(2) == MemberState::left);
        bench.pass(1s);
        CHECK(bench.said(2, MemberState::left));
    }
}

TEST_CASE("a live member whose address another one claims is asked before it is judged") {
    // The claim may be a copied configuration file.
    for (const bool answers : {false, true}) {
        Bench bench;
        bench.meet(1);
        bench.meet(2);
        bench.clear();
        wire::Claim fresh = record(30);
        fresh.subject.gossip = address_of(2);
        bench.from(30, wire::Join{fresh, 0});
        const auto pings = bench.sent<wire::Ping>();
        REQUIRE(pings.size() == 1);
        CHECK(pings[0].first == id_of(2));
        CHECK(bench.state(2) == MemberState::alive);
        if (answers) {
            bench.from(2, wire::Ack{pings[0].second.sequence});
            CHECK(bench.all<Warn>().size() == 1);
            CHECK(bench.state(2) == MemberState::alive);
        } else {
            bench.core.on_wrong_peer(bench.now, id_of(2), address_of(2), id_of(30), bench.out);
            CHECK(bench.state(2) == MemberState::left);
        }
    }
}

TEST_CASE("a former self at this very address is replaced as soon as it is heard of") {
    // Nobody else can know as well as the process that listens there.
    Bench bench;
    bench.meet(1);
    wire::Claim former = record(40);
    former.subject.gossip = address_of(0);
    bench.told(1, former);
    CHECK(bench.state(40) == MemberState::left);
}

TEST_CASE("a second process under this id is reported, and not fought over") {
    // A cloned virtual machine: two nodes raising one incarnation would flood the mesh.
    Bench bench;
    bench.meet(1);
    wire::Claim clone = record(0, 1, 1);
    clone.subject.gossip = address_of(99);
    for (int round = 0; round < 20; ++round) {
        clone.subject.incarnation = bench.core.self().incarnation + 1;
        bench.told(1, clone);
    }
    REQUIRE(bench.all<IdentityConflict>().size() == 1);
    CHECK(bench.all<IdentityConflict>()[0].other == address_of(99));
    CHECK(bench.core.self().incarnation <= 2);
}

TEST_CASE("two processes under one id are told of each other by whoever meets both") {
    // Neither of them can notice it alone.
    Bench bench;
    bench.meet(1);
    wire::Claim clone = record(1);
    clone.subject.gossip = address_of(50);
    bench.clear();
    bench.from(1, wire::Ping{1, id_of(0), clone});
    CHECK(bench.core.find(id_of(1))->gossip == address_of(1));
    bool told = false;
    for (const Send& send : bench.all<Send>()) {
        for (const auto& c : send.message.updates) {
            told |= c.subject.id == id_of(1) && c.subject.gossip == address_of(1) &&
                    send.address == address_of(50);
        }
    }
    CHECK(told);
}

TEST_CASE("a node whose epoch was set back says so and can go on in a higher one") {
    // A data directory restored from a backup: the mesh believes nothing of the old epoch.
    Bench bench({}, 3);
    bench.meet(1);
    bench.told(1, record(0, 7));
    REQUIRE(bench.all<IdentityConflict>().size() == 1);
    CHECK(bench.all<IdentityConflict>()[0].seen_epoch == 7);
    bench.core.renew(bench.now, 8, bench.out);
    CHECK(bench.core.self().boot_epoch == 8);
    bench.clear();
    bench.told(1, claim(0, 1, MemberState::dead, 8, 0));
    CHECK(bench.all<Refuted>().size() == 1);
}

TEST_CASE("every change of a member is told once, with what it was before") {
    // The directory moves shards on this word alone.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.told(1, claim(2, 1, MemberState::suspect));
    bench.told(1, claim(2, 1, MemberState::suspect));
    bench.told(2, record(2, 1, 1));
    wire::Claim moved = record(2, 1, 2);
    moved.subject.http.port = 5001;
    bench.told(2, moved);
    bench.told(2, record(2, 2));
    std::vector<std::pair<MemberState, std::optional<MemberState>>> seen;
    for (const auto& change : bench.all<MemberChanged>()) {
        if (change.member.id == id_of(2)) seen.emplace_back(change.member.state, change.before);
    }
    using S = MemberState;
    const decltype(seen) expected = {{S::alive, std::nullopt}, {S::suspect, S::alive},
                                     {S::alive, S::suspect},   {S::alive, S::alive},
                                     {S::alive, S::alive}};
    CHECK(seen == expected);
}

TEST_CASE("the table has room for its limit and no more; the dead make room first") {
    // A member that invents members must not eat the memory of all the others.
    Options options;
    options.members_max = 20;
    Bench bench(options);
    bench.meet(1);
    for (std::size_t n = 2; n < 60; ++n) bench.told(1, record(n));
    CHECK(bench.core.members().size() == 19);
    CHECK(bench.all<Warn>().size() == 1);
    CHECK_FALSE(bench.state(50));
    bench.told(1, claim(5, 1, MemberState::dead));
    bench.told(1, record(50));
    CHECK(bench.state(50) == MemberState::alive);
    CHECK_FALSE(bench.state(5));
    CHECK(bench.all<MemberForgotten>().size() == 1);
    CHECK(bench.core.broken_invariant() == std::nullopt);
}

TEST_CASE("the dead are kept a day and then forgotten") {
    // Long enough to be refuted after a partition; not for ever.
    Bench bench;
    bench.meet(1);
    bench.meet(2);
    bench.told(1, claim(2, 1, MemberState::dead));
    bench.told(1, claim(1, 2, MemberState::left));
    bench.pass(23h);
    CHECK(bench.state(2) == MemberState::dead);
    bench.pass(2h);
    CHECK_FALSE(bench.state(2));
    CHECK_FALSE(bench.state(1));
    CHECK(bench.core.broken_invariant() == std::nullopt);
}

TEST_CASE("a label with blanks or over its limit is made fit, and an impossible record is said to be") {
    // The name comes from a host; every other member would refuse the record without a word.
    Self self = self_of(0);
    self.name = std::string(100, 'n') + " x";
    self.zone = "rack 4";
    Outbox out;
    Gossip core(self, {}, Rng(1));
    core.start(Instant{0}, {}, {}, out);
    CHECK(core.self().name.size() == wire::kMemberNameMax);
    CHECK(core.self().zone == "rack-4");
    CHECK(out.empty());
    self.http.host = std::string(240, 'h');
    Gossip other(self, {}, Rng(1));
    other.start(Instant{0}, {}, {}, out);
    REQUIRE(out.size() == 1);
    CHECK(std::holds_alternative<Warn>(out[0]));
}
