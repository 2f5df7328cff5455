// How much memory the cores of one node take in a mesh of 10,000 that has 50,000 blobs here:
//   members DIR    makes DIR for its store; prints RssAnon + RssShmem after each step as JSON.
// The cores (gossip, directory, store) run in this process on virtual time; the other members are
// answers this program makes up. It is not a whole node: no sockets, no HTTP, no transfer, no pools.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/log.h"
#include "directory/directory.h"
#include "gossip/gossip.h"
#include "store/posix_fs.h"
#include "store/store.h"

using namespace fastreg;

namespace {

constexpr std::size_t kMembers = 10'000;
constexpr std::size_t kBlobs = 50'000;

double rss_mib() {
    std::ifstream status("/proc/self/status");
    std::string line;
    double kib = 0;
    while (std::getline(status, line)) {
        if (line.rfind("RssAnon:", 0) == 0 || line.rfind("RssShmem:", 0) == 0) {
            kib += std::strtod(line.c_str() + line.find(':') + 1, nullptr);
        }
    }
    return kib / 1024;
}

[[noreturn]] void fail(const std::string& why) {
    std::fprintf(stderr, "members: %s\n", why.c_str());
    std::exit(1);
}

NodeId id_of(std::size_t n) {
    NodeId id;
    const Digest digest = digest_of(HashAlg::sha256, as_bytes("member " + std::to_string(n)));
    std::memcpy(id.bytes.data(), digest.value.data(), id.bytes.size());
    return id;
}

Member member_of(std::size_t n) {
    Member member;
    member.id = id_of(n);
    member.boot_epoch = 1;
    member.name = "worker-" + std::to_string(n);
    member.zone = "rack-" + std::to_string(n / 40);
    const std::string host =
        "10." + std::to_string(n >> 16U) + "." + std::to_string((n >> 8U) & 255U) + "." + std::to_string(n & 255U);
    member.gossip = {host, 7946};
    member.transfer = {host, 7947};
    member.http = {host, 8080};
    return member;
}

/// The cores of member 0, and everybody else.
class Mesh {
  public:
    Mesh()
        : gossip_(self(), {}, Rng(1)), directory_(id_of(0), 1, {}, Rng(2)) {
        gossip::Outbox out;
        gossip_.start(now_, {}, {}, out);
        directory::Outbox told;
        directory_.on_member(now_, gossip_.self(), told);
        drain(out);
        drain(told);
    }

    void meet(std::size_t n) {
        gossip::Outbox out;
        const Member member = member_of(n);
        gossip_.on_message(now_, member.id, {wire::Join{{member, member.id}, 0}, {}}, out);
        drain(out);
    }

    void have(const Digest& digest, std::uint64_t size) {
        directory::Outbox out;
        directory_.on_have(now_, digest, size, directory::HolderKind::cache, out);
        drain(out);
    }

    /// Lets virtual time pass, deadline by deadline.
    void pass(Duration span) {
        const Instant end = now_ + span;
        while (true) {
            const Instant next = std::min(gossip_.next_deadline(), directory_.next_deadline());
            if (next > end) break;
            now_ = std::max(now_, next);
            gossip::Outbox out;
            gossip_.on_deadline(now_, out);
            drain(out);
            directory::Outbox told;
            directory_.on_deadline(now_, told);
            drain(told);
        }
        now_ = end;
    }

    [[nodiscard]] std::size_t alive() const { return gossip_.counts().alive; }
    [[nodiscard]] directory::Stats stats() const { return directory_.stats(); }

  private:
    static gossip::Self self() {
        const Member member = member_of(0);
        return {member.id, 1, member.name, member.zone, member.gossip, member.transfer, {}, member.http};
    }

    /// Members answer probes; nothing else they would say changes what this node keeps.
    void drain(gossip::Outbox& out) {
        std::deque<gossip::Action> todo(std::make_move_iterator(out.begin()), std::make_move_iterator(out.end()));
        for (; !todo.empty(); todo.pop_front()) {
            gossip::Outbox more;
            if (const auto* send = std::get_if<gossip::Send>(&todo.front())) {
                if (const auto* ping = std::get_if<wire::Ping>(&send->message.body)) {
                    gossip_.on_message(now_, send->to, {wire::Ack{ping->sequence}, {}}, more);
                }
            } else if (const auto* changed = std::get_if<gossip::MemberChanged>(&todo.front())) {
                directory::Outbox told;
                directory_.on_member(now_, changed->member, told);
                drain(told);
            }
            for (auto& action : more) todo.push_back(std::move(action));
        }
    }

    /// Owners take what they are told, and want what they are offered.
    void drain(directory::Outbox& out) {
        std::deque<directory::Action> todo(std::make_move_iterator(out.begin()), std::make_move_iterator(out.end()));
        for (; !todo.empty(); todo.pop_front()) {
            const auto* send = std::get_if<directory::Send>(&todo.front());
            if (send == nullptr) continue;
            directory::Outbox more;
            if (const auto* announce = std::get_if<wire::Announce>(&send->message)) {
                directory_.on_message(now_, send->to, wire::AnnounceAck{announce->request, false, 0}, more);
            } else if (const auto* summary = std::get_if<wire::ShardSummary>(&send->message)) {
                wire::ShardSummaryReply reply{summary->request, {}, {}};
                for (const auto& item : summary->items) reply.want.push_back(item.shard);
                directory_.on_message(now_, send->to, reply, more);
            } else if (const auto* pull = std::get_if<wire::ShardPull>(&send->message)) {
                directory_.on_message(now_, send->to, wire::ShardPage{pull->request, {}, {}, false}, more);
            }
            for (auto& action : more) todo.push_back(std::move(action));
        }
    }

    Instant now_{1'000'000'000};
    gossip::Gossip gossip_;
    directory::Directory directory_;
};

}  // namespace

int main(int count, char** words) {
    if (count != 2) fail("usage: members DIR");
    log::start(log::Level::error, log::Format::text);
    std::vector<std::pair<std::string, double>> steps;
    const auto step = [&](const char* name) { steps.emplace_back(name, rss_mib()); };
    step("empty process");

    Mesh mesh;
    for (std::size_t n = 1; n < kMembers; ++n) {
        mesh.meet(n);
        if (n % 100 == 0) mesh.pass(100ms);
    }
    mesh.pass(5s);
    if (mesh.alive() != kMembers - 1) fail("only " + std::to_string(mesh.alive()) + " members were taken");
    step("10,000 members");

    store::PosixFs fs;
    store::InlineExecutor executor;
    store::Options options;
    options.dir = words[1];
    auto store = store::Store::open(fs, executor, options);
    if (!store) fail(store.error().what);
    for (std::size_t n = 0; n < kBlobs; ++n) {
        const std::string text = "blob " + std::to_string(n);
        const Digest digest = digest_of(HashAlg::sha256, as_bytes(text));
        const ByteView view = as_bytes(text);
        Status kept;
        (*store)->put_small(digest, Bytes(view.begin(), view.end()), false, store::Durability::deferred,
                            [&](Status status) { kept = std::move(status); });
        if (!kept) fail(kept.error().what);
        mesh.have(digest, text.size());
        if (n % 1'000 == 0) mesh.pass(100ms);
    }
    step("and 50,000 blobs");
    if ((*store)->totals().blobs != kBlobs) fail("the store lost blobs");
    mesh.pass(60s);
    step("after 60 simulated s");
    if (mesh.alive() != kMembers - 1 || mesh.stats().local_blobs != kBlobs) fail("members or blobs were lost");

    std::printf("{\"members\": %zu, \"blobs\": %zu, \"announced\": %llu, \"mib\": {", mesh.alive() + 1,
                mesh.stats().local_blobs, static_cast<unsigned long long>(mesh.stats().entries_sent));
    for (std::size_t i = 0; i < steps.size(); ++i) {
        std::printf("%s\"%s\": %.1f", i == 0 ? "" : ", ", steps[i].first.c_str(), steps[i].second);
    }
    std::puts("}}");
    return 0;
}
