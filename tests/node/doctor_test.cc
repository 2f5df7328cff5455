// What the doctor says of machines that are not this one: every judgement from what was seen.
#include "node/doctor.h"

#include <doctest/doctest.h>

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "node/doctor_clients.h"
#include "node/doctor_rdma.h"

namespace fastreg::node {
namespace {

using transport::rdma::Device;
using transport::rdma::LinkLayer;
using transport::rdma::LockedMemory;
using transport::rdma::SelfTested;

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

const Finding& about(const std::vector<Finding>& all, std::string_view what) {
    static const Finding none{Verdict::fail, "", "nothing was said of it", ""};
    for (const Finding& each : all) {
        if (has(each.what, what)) return each;
    }
    return none;
}

/// A directory that is gone with its content when the test ends.
struct Folder {
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "fastreg-doctor-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    std::filesystem::path path;
};

std::size_t count(const std::vector<Finding>& all, Verdict verdict) {
    return static_cast<std::size_t>(std::ranges::count(all, verdict, &Finding::verdict));
}

config::Config plain() {
    config::Config config;
    config.data_dir = "/srv/fr";
    config.cluster_key_file = "/srv/fr/cluster.key";
    return config;
}

config::Rdma on() {
    config::Rdma rdma;
    rdma.enabled = true;
    return rdma;
}

/// A machine with one good RoCE card; stories break it.
RdmaFacts good() {
    RdmaFacts facts;
    facts.system.devices = {{"mlx5_0", "ACTIVE", "Ethernet", "100 Gb/sec (4X EDR)", "ens1", "/dev/infiniband/uverbs0"}};
    facts.system.files = {{"/dev/infiniband/rdma_cm", 0}, {"/dev/infiniband/uverbs0", 0}};
    facts.system.memory = {LockedMemory::kUnlimited, false};
    facts.devices = {{"mlx5_0", LinkLayer::roce, true, 4096, 1U << 30U, {"10.1.0.1"}}};
    facts.own = {{"127.0.0.1", "lo"}, {"172.17.0.1", "docker0"}, {"192.0.2.7", "eth0"}, {"10.1.0.1", "ens1"}};
    facts.mtus = {{"ens1", 9000}, {"eth0", 1500}};
    facts.loopbacks.push_back({"mlx5_0", "10.1.0.1", SelfTested{4U << 20U, 3ms, 1ms}});
    return facts;
}

}  // namespace

TEST_CASE("the data directory: writable or to be made, read-only, another's, or nearly full") {
    const config::Config config = plain();
    constexpr std::uint64_t kGiB = 1ULL << 30U;
    const auto judged = [&](const DiskFacts& disk) { return judge_disk(disk, config); };
    CHECK(count(judged({true, 0, 100 * kGiB, 50 * kGiB}), Verdict::ok) == 2);
    CHECK(has(judged({false, 0, 100 * kGiB, 50 * kGiB})[0].seen, "can be made"));
    const auto read_only = judged({true, EROFS, 100 * kGiB, 50 * kGiB});
    CHECK(read_only[0].verdict == Verdict::fail);
    CHECK(has(read_only[0].advice, "mount it for writing"));
    CHECK(has(judged({true, EACCES, 100 * kGiB, 50 * kGiB})[0].advice, "chown"));
    CHECK(has(judged({true, ENOTDIR, 100 * kGiB, 50 * kGiB})[0].seen, "no directory"));
    // 5 % of 100 GiB is kept free: with less nothing new is taken, with little more a warning comes in time.
    CHECK(judged({true, 0, 100 * kGiB, 9 * kGiB})[1].verdict == Verdict::warn);
    CHECK(judged({true, 0, 100 * kGiB, 5 * kGiB})[1].verdict == Verdict::fail);
    CHECK(judged({true, 0, 100 * kGiB, 11 * kGiB})[1].verdict == Verdict::ok);
}

TEST_CASE("what is looked at is the nearest folder that is there, and nothing is made") {
    const Folder folder;
    const auto& root = folder.path;
    const DiskFacts deep = look_at_disk(root / "a" / "b");
    CHECK_FALSE(deep.exists);
    CHECK(deep.access_errno == 0);
    CHECK(deep.size > 0);
    CHECK_FALSE(std::filesystem::exists(root / "a"));
    std::ofstream(root / "file") << "x";
    CHECK(look_at_disk(root / "file" / "b").access_errno == ENOTDIR);
}

TEST_CASE("a key that is there, that the first start makes, and that has to be copied") {
    config::Config config = plain();
    const Result<std::string> none = fail(Errc::not_found, "none");
    CHECK(judge_key(std::string("secret"), config).verdict == Verdict::ok);
    CHECK_FALSE(has(judge_key(std::string("secret"), config).seen, "secret"));
    CHECK(has(judge_key(none, config).seen, "the first start makes"));
    CHECK(judge_key(fail(Errc::invalid_argument, "holds a key of 3 bytes"), config).verdict == Verdict::fail);
    config.join = {{"node1", 7946}};
    CHECK(judge_key(none, config).verdict == Verdict::fail);
    config.insecure_mesh = true;
    CHECK(judge_key(none, config).verdict == Verdict::warn);
}

TEST_CASE("a port is free, ours, another's, or not to be had") {
    const Endpoint at{"::", 8080};
    const Status taken =
        fail(Errc::already_exists, "cannot listen on [::]:8080; another program uses port 8080: stop it", EADDRINUSE);
    CHECK(judge_port("--http-listen", at, {}, {}).verdict == Verdict::ok);
    CHECK(judge_port("--http-listen", {"::", 0}, {}, {}).seen == "any free one");
    const Finding foreign = judge_port("--http-listen", at, taken, {});
    CHECK(foreign.verdict == Verdict::fail);
    CHECK(foreign.advice == "another program uses port 8080: stop it");
    // The node of this very configuration holds its own port, and no other.
    CHECK(judge_port("--http-listen", at, taken, std::vector<Endpoint>{{"::", 8080}}).verdict == Verdict::ok);
    CHECK(judge_port("--http-listen", at, taken, std::vector<Endpoint>{{"::", 5000}}).verdict == Verdict::fail);
    const Status denied =
        fail(Errc::permission_denied, "cannot listen on [::]:80; a port below 1024 needs root", EACCES);
    CHECK(judge_port("--http-listen", {"::", 80}, denied, std::vector<Endpoint>{{"::", 80}}).verdict == Verdict::fail);
}

TEST_CASE("an address for peers is one that peers can dial") {
    const auto verdict = [](const std::string& host, std::string_view interface) {
        return judge_advertised("--advertise-addr", host, interface).verdict;
    };
    CHECK(verdict("192.0.2.7", "eth0") == Verdict::ok);
    CHECK(verdict("node1.example.org", "") == Verdict::ok);
    CHECK(verdict("192.0.2.99", "") == Verdict::ok);  // behind ports that are passed on
    for (const std::string none : {"", "0.0.0.0", "::"}) CHECK(verdict(none, "") == Verdict::fail);
    for (const std::string own : {"127.0.0.1", "127.3.2.1", "::1", "localhost"})
        CHECK(verdict(own, "lo") == Verdict::warn);
    for (const std::string bridge : {"docker0", "br-0a1b2c", "podman1", "cni0"}) {
        CHECK(verdict("172.17.0.1", bridge) == Verdict::fail);
    }
    CHECK(verdict("192.0.2.7", "br0") == Verdict::ok);  // a bridge of the machine's own
}

TEST_CASE("descriptors, the clock, and the clocks of others") {
    CHECK(judge_files(255).verdict == Verdict::fail);
    CHECK(judge_files(1024).verdict == Verdict::warn);
    CHECK(judge_files(1'048'576).verdict == Verdict::ok);
    CHECK(judge_clock({1'000'000, true}).verdict == Verdict::fail);
    CHECK(judge_clock({1'800'000'000'000, false}).verdict == Verdict::warn);
    CHECK(judge_clock({1'800'000'000'000, true}).verdict == Verdict::ok);
    const auto judged = [](const std::vector<PeerClock>& peers) { return judge_peer_clocks(peers); };
    CHECK(judged({}).verdict == Verdict::ok);
    CHECK(judged({{"a", 900}, {"b", -1200}}).verdict == Verdict::ok);
    const Finding behind = judged({{"a", 900}, {"b", -4200}});
    CHECK(behind.verdict == Verdict::warn);
    CHECK(behind.seen == "b is 4 s behind");
    CHECK(judged({{"a", 3'600'000}}).verdict == Verdict::fail);
    CHECK(judged({{"a", 3'600'000}}).seen == "a is 3600 s ahead");
}

TEST_CASE("a machine without RDMA gets one line, a warning only where RDMA is asked for") {
    const auto off = judge_rdma({}, {}, {});
    REQUIRE(off.size() == 1);
    CHECK(off[0].verdict == Verdict::ok);
    CHECK(off[0].seen == "no RDMA device; chunks go by TCP");
    const auto wanted = judge_rdma({}, on(), {});
    REQUIRE(wanted.size() == 1);
    CHECK(wanted[0].verdict == Verdict::warn);
    CHECK_FALSE(wanted[0].advice.empty());
}

TEST_CASE("a good card is all ok, and the line of the connection says what was moved") {
    const auto all = judge_rdma(good(), on(), {});
    CHECK(count(all, Verdict::ok) == all.size());
    CHECK(has(about(all, "device mlx5_0").seen,
              "roce on ens1, port ACTIVE, 100 Gb/sec (4X EDR), reached by 10.1.0.1, MTU 4096"));
    CHECK(has(about(all, "device mlx5_0").seen, "10.1.0.1"));
    CHECK(has(about(all, "RDMA through mlx5_0").seen, "4.0 MiB"));
    CHECK(has(about(all, "rdma-advertise-addr").seen, "leads to mlx5_0"));
}

TEST_CASE("what is wrong with RDMA fails where it is asked for, and warns where it is off") {
    const auto worst = [](const RdmaFacts& facts, std::string_view what, std::string_view advice) {
        const auto all = judge_rdma(facts, on(), {});
        CHECK(has(about(all, what).advice, advice));
        CHECK(count(judge_rdma(facts, {}, {}), Verdict::fail) == 0);
        CHECK(count(judge_rdma(facts, {}, {}), Verdict::warn) == count(all, Verdict::fail) + count(all, Verdict::warn));
        return about(all, what).verdict;
    };
    RdmaFacts facts = good();
    facts.system.modules_missing = {"rdma_cm", "rdma_ucm"};
    CHECK(worst(facts, "modules", "modprobe -a rdma_cm rdma_ucm") == Verdict::fail);
    facts = good();
    facts.system.files[0].os_errno = ENOENT;
    CHECK(worst(facts, "/dev/infiniband/rdma_cm", "--device=/dev/infiniband") == Verdict::fail);
    facts.system.files[0].os_errno = EACCES;
    CHECK(worst(facts, "/dev/infiniband/rdma_cm", "udev") == Verdict::fail);
    facts = good();
    facts.system.devices[0].state = "DOWN";
    CHECK(worst(facts, "device mlx5_0", "ip link set ens1 up") == Verdict::fail);
    facts.system.devices[0].state = "INIT";
    facts.devices[0].layer = LinkLayer::infiniband;
    CHECK(worst(facts, "device mlx5_0", "opensm") == Verdict::fail);
    facts = good();
    facts.loopbacks[0].outcome = fail(Errc::timeout, "connecting to itself: no end within 15 s");
    CHECK(worst(facts, "RDMA through", "ib_write_bw -R") == Verdict::fail);
    facts = good();
    facts.devices[0].addresses.clear();
    facts.loopbacks.clear();
    CHECK(worst(facts, "device mlx5_0", "give ens1 an IP address") == Verdict::warn);
    CHECK(worst(facts, "rdma-advertise-addr", "an address") == Verdict::fail);
    facts = good();
    facts.opened = fail(Errc::unsupported, "this machine shows no RDMA device");
    facts.devices.clear();
    facts.loopbacks.clear();
    CHECK(worst(facts, "RDMA devices", "ibv_devinfo") == Verdict::fail);
    facts = good();
    facts.listened = fail(Errc::network, "listening for RDMA", EADDRINUSE);
    CHECK(worst(facts, "port 9999", "--rdma-listen-port") == Verdict::fail);
    CHECK(about(judge_rdma(facts, on(), std::vector<Endpoint>{{"0.0.0.0", 9999}}), "port 9999").verdict == Verdict::ok);
}

TEST_CASE("packets of RoCE are as large as the interface lets them be") {
    for (const auto& [interface, packet] : {std::pair{1500U, 1024U}, {4200U, 4096U}, {9000U, 4096U}, {2200U, 2048U}}) {
        CHECK(roce_mtu_of(interface) == packet);
    }
    RdmaFacts facts = good();
    facts.devices[0].mtu = 1024;
    facts.mtus["ens1"] = 1500;
    const Finding small = about(judge_rdma(facts, on(), {}), "device mlx5_0");
    CHECK(small.verdict == Verdict::warn);
    CHECK(has(small.advice, "ip link set ens1 mtu 9000"));
    // The interface was widened, and the device has not noticed.
    facts.mtus["ens1"] = 9000;
    CHECK(has(about(judge_rdma(facts, on(), {}), "device mlx5_0").advice, "down and up again"));
    // InfiniBand has the fabric's, iWARP is TCP.
    facts.devices[0].layer = LinkLayer::iwarp;
    CHECK(about(judge_rdma(facts, on(), {}), "device mlx5_0").verdict == Verdict::ok);
}

TEST_CASE("locked memory is measured against what the pools of all devices take") {
    // A node halves its pools until they fit; the doctor says what it would get.
    constexpr std::uint64_t kMiB = 1ULL << 20U;
    // Not a byte less than pools and connections take, or a node pins its pools and then cannot connect.
    constexpr std::uint64_t kLinks = 32 * kMiB;
    CHECK(landing_slots_within(768 * kMiB + kLinks, on(), 1) == 128);
    CHECK(landing_slots_within(768 * kMiB + kLinks - 1, on(), 1) == 64);
    CHECK(landing_slots_within(768 * kMiB + kLinks, on(), 2) == 64);
    CHECK(landing_slots_within(96 * kMiB + kLinks, on(), 1) == 16);
    CHECK(landing_slots_within(96 * kMiB + kLinks - 1, on(), 1) == 0);
    RdmaFacts facts = good();
    const auto judged = [&](std::uint64_t limit, bool may_exceed) {
        facts.system.memory = {limit, may_exceed};
        return about(judge_rdma(facts, on(), {}), "locked memory");
    };
    CHECK(judged(768 * kMiB + kLinks, false).verdict == Verdict::ok);
    CHECK(judged(450 * kMiB, false).verdict == Verdict::warn);
    CHECK(has(judged(450 * kMiB, false).seen, "64 landing slots of 128"));
    CHECK(judged(8 * kMiB, false).verdict == Verdict::fail);
    CHECK(has(judged(8 * kMiB, false).advice, "memlock=-1"));
    CHECK(judged(8 * kMiB, true).verdict == Verdict::ok);
    facts.system.devices[0].soft_iwarp = true;
    CHECK(judged(8 * kMiB, true).verdict == Verdict::fail);
    CHECK(has(judged(8 * kMiB, true).advice, "does not heed CAP_IPC_LOCK"));
}

TEST_CASE("the RDMA address of a node leads to a device, and never to containers or to itself") {
    const auto judged = [](const std::string& address) {
        config::Rdma rdma = on();
        rdma.advertise_addr = address;
        return about(judge_rdma(good(), rdma, {}), "rdma-advertise-addr");
    };
    CHECK(judged("10.1.0.1").verdict == Verdict::ok);
    for (const std::string wrong : {"0.0.0.0", "127.0.0.1", "172.17.0.1", "192.0.2.7"}) {
        CAPTURE(wrong);
        CHECK(judged(wrong).verdict == Verdict::fail);
        CHECK(has(judged(wrong).advice, "one of 10.1.0.1"));
    }
}

TEST_CASE("clients are set to use the node when its address stands in their files") {
    const Endpoint http{"::", 8080};
    for (const std::string text : {R"({"insecure-registries": ["127.0.0.1:8080"]})",
                                   "server = \"http://localhost:8080\"",
                                   "[host.\"http://127.0.0.1:8080\"]",
                                   "location = \"[::1]:8080\" # plain HTTP"}) {
        CAPTURE(text);
        CHECK(names_node(text, http));
    }
    for (const std::string text : {R"({"insecure-registries": ["127.0.0.1:5000"]})",
                                   "# server = \"http://localhost:8080\"",
                                   "location = \"no.such.host.example:8080\"",
                                   R"({"port":8080})",
                                   "",
                                   ":8080",
                                   "8080"}) {
        CAPTURE(text);
        CHECK_FALSE(names_node(text, http));
    }
    ClientFiles files;
    CHECK(count(judge_clients(files, http), Verdict::ok) == 3);
    CHECK(has(judge_clients(files, http)[0].seen, "without any setting"));
    files.docker = "{ broken";
    CHECK(judge_clients(files, http)[0].verdict == Verdict::warn);
    files.docker = R"({"registry-mirrors": ["http://127.0.0.1:8080"]})";
    files.containerd = {"_default\n", "127.0.0.1:8080\n"};
    files.podman = {"location = \"localhost:8080\""};
    for (const Finding& each : judge_clients(files, http)) {
        CHECK(each.verdict == Verdict::ok);
        CHECK(has(each.seen, "names this node"));
    }
}

TEST_CASE("the files of the clients are found where they belong") {
    const Folder folder;
    const auto& root = folder.path;
    const auto write = [&](const std::string& path, const std::string& text) {
        std::filesystem::create_directories((root / path).parent_path());
        std::ofstream(root / path) << text;
    };
    CHECK_FALSE(look_at_clients(root).docker);
    write("etc/docker/daemon.json", "{}");
    write("etc/containerd/certs.d/127.0.0.1:8080/hosts.toml", "server = \"x\"");
    write("etc/containers/registries.conf.d/50-fastreg.conf", "location");
    write("etc/containers/registries.conf.d/README", "not read");
    const ClientFiles files = look_at_clients(root);
    CHECK(files.docker == "{}");
    CHECK(files.containerd == std::vector<std::string>{"127.0.0.1:8080\nserver = \"x\""});
    CHECK(files.podman == std::vector<std::string>{"location"});
}

TEST_CASE("the doctor changes nothing on a machine, and finds its own ports free") {
    const Folder folder;
    config::Config config = plain();
    config.data_dir = (folder.path / "data").string();
    config.cluster_key_file = config.default_key_file();
    config.http.listen = config.gossip.listen = config.transfer.listen = {"127.0.0.1", 0};
    const auto all = examine(config, {});
    CHECK(about(all, "data directory").verdict == Verdict::ok);
    CHECK(about(all, "cluster key").verdict == Verdict::ok);
    CHECK(about(all, "port 0 (--http-listen)").verdict == Verdict::ok);
    CHECK_FALSE(std::filesystem::exists(config.data_dir));
}

}  // namespace fastreg::node
