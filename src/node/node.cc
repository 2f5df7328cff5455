#include "node/node.h"

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "base/hash.h"
#include "base/log.h"
#include "base/worker.h"
#include "node/data_dir.h"
#include "node/key_file.h"
#include "node/system.h"
#include "wire/handshake.h"

namespace fastreg::node {

namespace {
constexpr std::size_t kBlockSize = 256U << 10U;
constexpr Duration kStopStep = 50ms;
/// Over two polls of `fastreg leave`.
constexpr Duration kLinger = 1200ms;
/// What the mesh must hear of a leave or stop, and no more.
constexpr Duration kQuietPatience = 2s;
}  // namespace

Node::Node(config::Config config, Reread reread)
    : config_(std::move(config)), reread_(std::move(reread)) {}

Node::~Node() {
    take_down();
    mesh_.reset();
    store_.reset();
    executor_.reset();
    stop_timer_.reset();
    leave_timer_.reset();
    service_timer_.reset();
    io_.clear();
}

/// All that uses the store; harmless twice.
void Node::take_down() {
    signals_.clear();
    if (mesh_) mesh_->attach(nullptr);
    front_.reset();
    admin_pages_.reset();
    service_.reset();
    if (mesh_) mesh_->close();
    core_.reset();
}

Status Node::run() {
    if (auto started = start(); !started) {
        // A start that was refused is no crash: the next one must not doubt what is on the disk.
        take_down();
        if (store_) {
            remove_file(ready_file());
            close_store();
            loop_.run();
        }
        return started;
    }
    loop_.run();
    log::info("node.stopped", {{"state", state_name()}});
    return {};
}

Status Node::start() {
    uv::ignore_broken_pipes();
    const std::uint64_t files = raise_file_limit();
    log::info("node.starting", {{"version", FR_VERSION}, {"data", config_.data_dir}, {"open_files", files}});
    FR_TRY_ASSIGN(files_, share_files(files, config_.limits));
    if (files_.less_than_configured) {
        const auto say = files < kFilesFew ? log::warn : log::info;
        say("node.few_files",
            {{"open_files", files},
             {"connections", files_.connections},
             {"uploads", files_.uploads},
             {"downloads", files_.downloads},
             {"links", files_.links},
             {"do", "raise the hard limit of open files (ulimit -n, LimitNOFILE=) to " +
                        std::to_string(kFilesForDefaults) + " to have all limits as configured"}});
    }
    FR_TRY(open_store());
    remove_file(ready_file());  // of an earlier run
    FR_TRY(open_mesh());
    FR_TRY(open_fronts());
    return announce();
}

Status Node::open_store() {
    FR_TRY(prepare_data_dir(config_.data_dir));
    FR_TRY_ASSIGN(key_, load_or_make_key(config_));
    FR_TRY_ASSIGN(const std::uint64_t disk, file_system_size(config_.data_dir));
    fs_ = std::make_unique<store::PosixFs>();
    executor_ = std::make_unique<store::ThreadedExecutor>(
        config_.disk_threads_for(processor_count()),
        [this](std::function<void()> job) { loop_.post(std::move(job)); });
    store::Options options;
    options.dir = config_.data_dir;
    options.max_bytes = config_.store.max_bytes.of(disk);
    options.min_free_bytes = config_.store.min_free_of(disk);
    options.high_watermark = static_cast<unsigned>(config_.store.high_watermark);
    options.low_watermark = static_cast<unsigned>(config_.store.low_watermark);
    options.backup_every = config_.store.backup_every;
    FR_TRY_ASSIGN(store_, store::Store::open(*fs_, *executor_, options));
    return {};
}

Status Node::open_mesh() {
    for (unsigned i = 0; i < config_.io_threads_for(processor_count()); ++i) {
        io_.push_back(std::make_unique<uv::LoopThread>("io" + std::to_string(i)));
    }
    const std::string host = advertised_host(config_.advertise_addr, config_.gossip.listen.host);
    MeshOptions options;
    options.identity.node_id = store_->identity().node;
    options.identity.epoch = store_->identity().boot_epoch;
    options.identity.name = config_.name;
    options.identity.cluster = config_.cluster;
    options.identity.gossip = {host, config_.gossip.listen.port};
    if (!config_.insecure_mesh) options.identity.key = wire::link_key(key_);
    options.gossip_listen = config_.gossip.listen;
    options.transfer_listen = config_.transfer.listen;
    for (const auto& thread : io_) options.io_threads.push_back(thread.get());
    options.blocks = std::max<std::size_t>(8, config_.recv_pool / kBlockSize);
    options.requests_in_max = config_.limits.inbound_requests_per_peer;
    options.links_max = files_.links;
    if (config_.rdma.enabled) options.rdma = rdma_options(config_.rdma);
    mesh_ = std::make_unique<Mesh>(loop_, std::move(options), metrics_);
    FR_TRY(mesh_->listen());
    return {};
}

transport::RdmaTransport::Options Node::rdma_options(const config::Rdma& rdma) {
    transport::RdmaTransport::Options options;
    options.listen = {rdma.listen_addr, static_cast<std::uint16_t>(rdma.listen_port)};
    options.advertise = rdma.advertise_addr;
    options.ack_timeout = static_cast<std::uint8_t>(rdma.ack_timeout);
    options.tos = static_cast<std::uint8_t>(rdma.tos);
    options.engine.landing_slots = rdma.landing_slots;
    options.engine.source_slots = rdma.source_slots;
    options.engine.links.depth = static_cast<std::uint16_t>(rdma.depth);
    options.engine.links.slots_per_peer = rdma.slots_per_peer;
    options.engine.links.segment = rdma.segment;
    return options;
}

Status Node::open_fronts() {
    FrontOptions front;
    front.limits = config_.limits;
    for (const auto& thread : io_) front.io_threads.push_back(thread.get());
    // Without a secret everybody could make the proof; upload ids are then no secret either.
    const Mac upload_key = hkdf_sha256(as_bytes(key_.empty() ? config_.cluster : key_), "fastreg mesh 1", "uploads");
    if (!key_.empty()) front.proxy_key = upload_key;
    front.limits.connections = files_.connections;
    front_ = std::make_unique<HttpFront>(loop_, front, metrics_);
    FR_TRY_ASSIGN(const Endpoint http, front_->listen_registry(config_.http.listen));
    http_ = http.str();
    FR_TRY(front_->listen_admin_socket(config_.admin_socket()));
    admin_ = config_.admin_socket();
    if (!config_.admin.listen.empty()) {
        FR_TRY_ASSIGN(const Endpoint admin, front_->listen_admin(config_.admin.listen));
        admin_ = admin.str();
    }

    const std::string host = advertised_host(config_.advertise_addr, config_.gossip.listen.host);
    const std::string data_host =
        config_.transfer.advertise_addr.empty() ? host : config_.transfer.advertise_addr;
    CoreOptions options;
    options.name = config_.name;
    options.zone = config_.zone;
    options.gossip = {host, mesh_->gossip_address().port};
    options.transfer = {data_host, mesh_->transfer_address().port};
    options.rdma = mesh_->rdma_address();
    options.http = {advertised_host(config_.advertise_addr, config_.http.listen.host), http.port};
    options.replicas = config_.replicas;
    options.open_blobs = files_.open_blobs;
    meters_ = std::make_unique<Meters>(metrics_);
    options.meters = meters_.get();
    options.gossip_options.members_max = config_.limits.members;
    options.directory_options.entries_max = config_.limits.directory_entries;
    options.transfer_options.downloads_max = files_.downloads;
    options.transfer_options.inbound_max = config_.limits.inbound_requests_per_peer;
    Mac seed{};
    secret_random(seed);
    core_ = std::make_unique<Core>(*mesh_, *store_, options, Rng(xxh3_64(seed)));
    mesh_->attach(core_.get());

    ServiceOptions service;
    service.remote_writes = config_.remote_writes == config::Gate::allow;
    service.deletes = config_.deletes == config::Gate::allow;
    service.push_timeout = config_.push_timeout;
    service.manifest_bytes = config_.limits.manifest_bytes;
    service.tags_page = static_cast<std::uint32_t>(config_.limits.tags_page);
    service.tags_page_max = static_cast<std::uint32_t>(config_.limits.tags_page_max);
    service.uploads.sessions = files_.uploads;
    service.uploads.blob_bytes = config_.limits.blob_bytes;
    service.upload_key = upload_key;
    service_ = std::make_unique<Service>(*core_, service);

    AdminFacts facts;
    facts.cluster = config_.cluster;
    facts.cluster_key = key_;
    facts.cluster_key_file = config_.cluster_key_file;
    facts.http_address = http_;
    facts.gossip_address = mesh_->gossip_address().str();
    facts.transfer_address = mesh_->transfer_address().str();
    facts.admin_address = admin_;
    facts.leave = [this](std::optional<Duration> patience) { return begin_leave(patience); };
    facts.state = [this] { return std::string(state_name()); };
    admin_pages_ = std::make_unique<Admin>(*core_, *mesh_, metrics_, front_->served(), std::move(facts));
    front_->serve(*core_, *service_, *admin_pages_);
    return {};
}

Status Node::announce() {
    stop_timer_ = std::make_unique<uv::Timer>(loop_, [this] { stop_step(); });
    leave_timer_ = std::make_unique<uv::Timer>(loop_, [this] { leave_step(); });
    service_timer_ = std::make_unique<uv::Timer>(loop_, [this] {
        service_->on_deadline();
        arm_service();
    });
    arm_service();
    for (const int number : {SIGTERM, SIGINT}) {
        signals_.emplace_back(loop_, number, [this, number] {
            begin_stop(State::stopping, number == SIGTERM ? "stopping (SIGTERM)" : "stopping (SIGINT)");
        });
    }
    signals_.emplace_back(loop_, SIGHUP, [this] { reload(); });
    core_->start(config_.join);
    state_ = State::alive;
    const std::string gossip = mesh_->gossip_address().str();
    const std::string transfer = mesh_->transfer_address().str();
    const std::string rdma = mesh_->rdma_address().str();
    std::printf("ready http=%s gossip=%s transfer=%s rdma=%s admin=%s\n", http_.c_str(), gossip.c_str(),
                transfer.c_str(), rdma.c_str(), admin_.c_str());
    std::fflush(stdout);
    log::info("node.ready", {{"http", http_},
                             {"gossip", gossip},
                             {"transfer", transfer},
                             {"rdma", rdma},
                             {"admin", admin_}});
    return write_whole_file(ready_file(),
                            R"({"http":")" + http_ + R"(","gossip":")" + gossip + R"(","transfer":")" +
                                transfer + R"(","rdma":")" + rdma + R"(","admin":")" + admin_ + "\"}\n");
}

void Node::arm_service() {
    service_timer_->set(service_->next_deadline());
    // A new upload may be due earlier than what is armed; a minute is exact enough for an idle hour.
    if (service_->next_deadline() == Instant::never()) service_timer_->set(Duration(60s));
}

std::string_view Node::state_name() const {
    switch (state_) {
        case State::starting: return "starting";
        case State::alive: return "alive";
        case State::draining: return "draining";
        case State::stopping: return "stopping";
        case State::leaving: return "leaving";
    }
    return "alive";
}

void Node::reload() {
    auto wanted = reread_ ? reread_() : Result<config::Config>(fail(Errc::unsupported, "no source to read again"));
    if (!wanted) {
        log::error("config.not_reloaded", {{"why", describe(wanted.error())}, {"do", "mend it and send SIGHUP again"}});
        return;
    }
    const auto changes = config::compare(config_, *wanted);
    for (const auto& key : changes.needs_restart) {
        log::warn("config.needs_restart", {{"key", key}});
    }
    const config::Config before = std::exchange(config_, config::reloaded(config_, *wanted));
    log::set_level(config_.log.level);
    core_->set_seeds(config_.join);
    for (const auto& seed : config_.join) {
        if (std::find(before.join.begin(), before.join.end(), seed) == before.join.end()) core_->join(seed);
    }
    log::info("config.reloaded", {{"changed", changes.reloadable.size()}});
}

Status Node::begin_leave(std::optional<Duration> patience) {
    if (state_ == State::stopping || state_ == State::leaving) return {};
    const auto begun = core_->hand_off([this] { return service_->changes_in_hand() > 0; });
    if (!begun && !patience) return begun;
    if (!begun) {
        begin_stop(State::leaving, "leaving the mesh; nothing was handed off: " + begun.error().what);
        return {};
    }
    leave_by_ = patience ? loop_.now() + *patience : Instant::never();  // who asks again is meant
    state_ = State::draining;
    service_->set_draining("this node hands off what it keeps, and leaves the mesh");
    leave_timer_->set(kStopStep);
    return {};
}

void Node::leave_step() {
    if (state_ != State::draining) return;
    const bool done = core_->handoff().done();
    if (!done && loop_.now() < leave_by_) {
        leave_timer_->set(kStopStep);
        return;
    }
    if (!done) {
        const auto left = core_->handoff().progress();
        log::error("handoff.given_up", {{"blobs", left.blobs_left},
                                        {"bytes", left.bytes_left},
                                        {"shards", left.shards_left},
                                        {"waited_for", left.waits_for},
                                        {"do", "start the node again to have them back in the mesh"}});
    }
    linger_until_ = loop_.now() + kLinger;
    begin_stop(State::leaving, "leaving the mesh");
    stop_by_ = std::max(stop_by_, linger_until_);
}

void Node::begin_stop(State state, const std::string& why) {
    if (state_ == State::stopping || state_ == State::leaving) {
        log::warn("node.stopping_now", {{"why", "asked twice"}});
        stop_by_ = loop_.now();
        return;
    }
    state_ = state;
    log::info("node.stopping", {{"why", why}, {"requests", front_->in_flight()}});
    stop_by_ = loop_.now() + config_.stop_timeout;
    service_->set_draining(why);
    front_->stop_accepting();
    if (state == State::leaving) {
        core_->leave();
    } else {
        core_->stop();
    }
    stop_timer_->set(kStopStep);
}

void Node::stop_step() {
    const Instant now = loop_.now();
    const bool told = core_->quiet() || now > stop_by_ - config_.stop_timeout + kQuietPatience;
    if ((front_->in_flight() > 0 || !told || now < linger_until_) && now < stop_by_) {
        stop_timer_->set(kStopStep);
        return;
    }
    remove_file(ready_file());
    front_->close();
    mesh_->attach(nullptr);
    mesh_->close();
    close_store();
}

/// Ends the loop when the store is closed.
void Node::close_store() {
    store_->close([this](Status status) {
        if (!status) log::error("store.not_closed", {{"why", describe(status.error())}});
        loop_.stop();
    });
}

Status run(const config::Config& config, Reread reread) {
    Node node(config, std::move(reread));
    return node.run();
}

}  // namespace fastreg::node
