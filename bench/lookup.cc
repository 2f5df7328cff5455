// What a blob look-up costs beyond a ping-pong of the same frames:
//   lookup N     N look-ups of each kind; prints microseconds (p50, p99) as JSON.
// This process is a node that asks; a child process is the three owners it asks, one TCP connection of
// loopback to each. Both run the shipped directory core and encoders on the real clock. "found": one
// owner is asked and names a holder. "nobody": every owner is asked before that is said. "ping": a frame
// as long as the question goes out, one as long as the answer comes back, and no core is asked; it passes
// the same sockets, poll and frame reader.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/hash.h"
#include "directory/directory.h"

using namespace fastreg;

namespace {

constexpr std::size_t kOwners = 3;
constexpr std::size_t kBlobs = 2000;
constexpr auto kPing = static_cast<std::uint8_t>(wire::FrameType::ping);
constexpr std::uint8_t kQuit = 0xff;

[[noreturn]] void fail(const std::string& why) {
    std::fprintf(stderr, "lookup: %s: %s\n", why.c_str(), std::strerror(errno));
    std::exit(1);
}

/// Node 0 asks, 1 to 3 own.
Member member_of(std::size_t n) {
    Member member;
    const Digest digest = digest_of(HashAlg::sha256, as_bytes("member " + std::to_string(n)));
    std::memcpy(member.id.bytes.data(), digest.value.data(), member.id.bytes.size());
    member.boot_epoch = 1;
    member.name = "node-" + std::to_string(n);
    return member;
}

Digest blob(std::size_t n) { return digest_of(HashAlg::sha256, as_bytes("blob " + std::to_string(n))); }

/// One end of a connection: whole frames out and in.
struct Link {
    int fd = -1;
    wire::FrameReader reader;

    void send(const wire::Frame& frame) const {
        const Bytes bytes = wire::encode_frame(frame);
        if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
            fail("send");
        }
    }
    /// False at the end of the stream.
    bool read() {
        std::array<std::byte, 4096> place{};
        const ssize_t got = ::recv(fd, place.data(), place.size(), 0);
        if (got <= 0) return false;
        reader.feed(std::span(place).first(static_cast<std::size_t>(got)));
        return true;
    }
    std::optional<wire::Frame> next() {
        auto frame = reader.next();
        if (!frame) fail(frame.error().what);
        return std::move(*frame);
    }
};

using Links = std::array<Link, kOwners>;

/// False when nothing came until `until`, or the other side is gone.
bool wait(Links& links, Instant until) {
    std::array<pollfd, kOwners> fds{};
    for (std::size_t i = 0; i < kOwners; ++i) fds[i] = {links[i].fd, POLLIN, 0};
    const Duration left = until == Instant::never() ? Duration(1h) : until - monotonic_now();
    const timespec span{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    if (left.count() <= 0 || ::ppoll(fds.data(), fds.size(), &span, nullptr) <= 0) return false;
    for (std::size_t i = 0; i < kOwners; ++i) {
        if (fds[i].revents != 0 && !links[i].read()) return false;
    }
    return true;
}

struct Node {
    NodeId id;
    directory::Directory core;
    explicit Node(std::size_t n) : id(member_of(n).id), core(id, 1, {}, Rng(n + 1)) {
        directory::Outbox none;
        for (std::size_t i = 0; i <= kOwners; ++i) core.on_member(monotonic_now(), member_of(i), none);
    }
};

// --- the owners ----------------------------------------------------------------------------------

class OwnerSide {
  public:
    explicit OwnerSide(Links& links) : links_(links) {
        for (std::size_t i = 0; i < kOwners; ++i) nodes_[i] = std::make_unique<Node>(i + 1);
        directory::Outbox out;
        for (std::size_t n = 0; n < kBlobs; ++n) {
            nodes_[0]->core.on_have(monotonic_now(), blob(n), 1U << 20U, wire::HolderKind::home, out);
        }
        deliver(0, out);
    }

    void run() {
        for (;;) {
            Instant next = Instant::never();
            for (const auto& node : nodes_) next = std::min(next, node->core.next_deadline());
            wait(links_, next);
            for (std::size_t i = 0; i < kOwners; ++i) {
                while (const auto frame = links_[i].next()) {
                    if (frame->type == kQuit) return;
                    answer(i, *frame);
                }
                if (nodes_[i]->core.next_deadline() > monotonic_now()) continue;
                directory::Outbox out;
                nodes_[i]->core.on_deadline(monotonic_now(), out);
                deliver(i, out);
            }
        }
    }

  private:
    void answer(std::size_t i, const wire::Frame& frame) {
        if (frame.type == kPing) return links_[i].send({kPing, 0, frame.request, Bytes(answer_size_)});
        const auto message = wire::decode_directory(frame);
        if (!message) fail(message.error().what);
        directory::Outbox out;
        nodes_[i]->core.on_message(monotonic_now(), member_of(0).id, *message, out);
        deliver(i, out);
    }
    void deliver(std::size_t from, directory::Outbox& first) {
        std::deque<std::pair<std::size_t, directory::Action>> todo;
        for (auto& action : first) todo.emplace_back(from, std::move(action));
        for (; !todo.empty(); todo.pop_front()) {
            const auto* send = std::get_if<directory::Send>(&todo.front().second);
            if (send == nullptr) continue;
            const std::size_t by = todo.front().first;
            if (send->to == member_of(0).id) {
                const wire::Frame frame = wire::encode(send->message);
                if (std::holds_alternative<wire::LookupReply>(send->message)) answer_size_ = frame.body.size();
                links_[by].send(frame);
                continue;
            }
            for (std::size_t i = 0; i < kOwners; ++i) {
                if (nodes_[i]->id != send->to) continue;
                directory::Outbox more;
                nodes_[i]->core.on_message(monotonic_now(), nodes_[by]->id, send->message, more);
                for (auto& action : more) todo.emplace_back(i, std::move(action));
            }
        }
    }

    Links& links_;
    std::array<std::unique_ptr<Node>, kOwners> nodes_;
    std::size_t answer_size_ = 64;
};

// --- the asker -----------------------------------------------------------------------------------

class Asker {
  public:
    explicit Asker(Links& links) : links_(links), node_(0) {}

    /// Lets shards be copied and announcements be made.
    void settle(Duration span) {
        const Instant end = monotonic_now() + span;
        while (monotonic_now() < end) step(std::min(end, node_.core.next_deadline()));
        if (node_.core.stats().shards_copying != 0) fail("the owners did not settle");
    }
    [[nodiscard]] bool owns(const Digest& digest) const {
        return std::ranges::count(node_.core.owners(digest), node_.id) != 0;
    }
    Duration look_up(const Digest& digest, bool known) {
        const Instant begin = monotonic_now();
        found_.reset();
        directory::Outbox out;
        node_.core.look_up(begin, ++lookups_, digest, directory::Intent::ask, out);
        drain(out);
        while (!found_) step(node_.core.next_deadline());
        if (!found_->authoritative || found_->holders.empty() == known) fail("a wrong answer");
        return monotonic_now() - begin;
    }
    Duration ping(std::size_t owner) {
        const Instant begin = monotonic_now();
        ponged_ = false;
        links_[owner].send({kPing, 0, 1, Bytes(question_size_)});
        while (!ponged_) step(Instant::never());
        return monotonic_now() - begin;
    }
    void quit() { links_[0].send({kQuit, 0, 0, {}}); }

  private:
    void step(Instant until) {
        wait(links_, until);
        for (std::size_t i = 0; i < kOwners; ++i) {
            while (const auto frame = links_[i].next()) {
                if (frame->type == kPing) {
                    ponged_ = true;
                    continue;
                }
                const auto message = wire::decode_directory(*frame);
                if (!message) fail(message.error().what);
                directory::Outbox out;
                node_.core.on_message(monotonic_now(), member_of(i + 1).id, *message, out);
                drain(out);
            }
        }
        if (node_.core.next_deadline() > monotonic_now()) return;
        directory::Outbox out;
        node_.core.on_deadline(monotonic_now(), out);
        drain(out);
    }
    void drain(directory::Outbox& out) {
        for (auto& action : out) {
            if (const auto* send = std::get_if<directory::Send>(&action)) {
                const wire::Frame frame = wire::encode(send->message);
                if (std::holds_alternative<wire::Lookup>(send->message)) question_size_ = frame.body.size();
                for (std::size_t i = 0; i < kOwners; ++i) {
                    if (send->to == member_of(i + 1).id) links_[i].send(frame);
                }
            } else if (auto* found = std::get_if<directory::Found>(&action)) {
                found_ = std::move(*found);
            } else {
                fail("a look-up failed");
            }
        }
    }

    Links& links_;
    Node node_;
    directory::LookupId lookups_ = 0;
    std::optional<directory::Found> found_;
    bool ponged_ = false;
    std::size_t question_size_ = 64;
};

void connect_all(Links& asker, Links& owners) {
    const int door = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    auto* any = reinterpret_cast<sockaddr*>(&at);  // the sockets interface takes every address so
    if (::bind(door, any, size) != 0 || ::listen(door, kOwners) != 0) fail("listen");
    if (::getsockname(door, any, &size) != 0) fail("getsockname");
    for (std::size_t i = 0; i < kOwners; ++i) {
        asker[i].fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(asker[i].fd, any, size) != 0) fail("connect");
        owners[i].fd = ::accept(door, nullptr, nullptr);
        const int on = 1;
        for (const int fd : {asker[i].fd, owners[i].fd}) {
            if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
        }
    }
    ::close(door);
}

std::string figures(std::vector<double> us) {
    std::ranges::sort(us);
    std::array<char, 96> text{};
    std::snprintf(text.data(), text.size(), "{\"p50\": %.2f, \"p99\": %.2f}", us[us.size() / 2],
                  us[us.size() * 99 / 100]);
    return text.data();
}

}  // namespace

int main(int count, char** words) {
    const std::size_t rounds = count == 2 ? std::strtoul(words[1], nullptr, 10) : 0;
    if (rounds == 0) {
        std::fputs("lookup N\n", stderr);
        return 2;
    }
    Links ours;
    Links theirs;
    connect_all(ours, theirs);
    const pid_t child = ::fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        OwnerSide(theirs).run();
        return 0;
    }
    Asker asker(ours);
    asker.settle(3s);
    Rng rng(8);
    std::array<std::vector<double>, 3> us;
    std::size_t strangers = kBlobs;
    for (std::size_t i = 0; i < rounds * 3; ++i) {
        const auto kind = static_cast<std::size_t>(rng.below(3));
        std::size_t n = kind == 1 ? static_cast<std::size_t>(rng.below(kBlobs)) : strangers++;
        while (asker.owns(blob(n))) n = kind == 1 ? static_cast<std::size_t>(rng.below(kBlobs)) : strangers++;
        const Duration took = kind == 0 ? asker.ping(i % kOwners) : asker.look_up(blob(n), kind == 1);
        us[kind].push_back(seconds_of(took) * 1e6);
    }
    asker.quit();
    ::waitpid(child, nullptr, 0);
    std::printf("{\"ping\": %s, \"found\": %s, \"nobody\": %s}\n", figures(us[0]).c_str(),
                figures(us[1]).c_str(), figures(us[2]).c_str());
    return 0;
}
