// Start, stop, kill and power cut of one node.
#include "tests/sim/sim_node.h"

namespace fastreg::sim {

SimNode::SimNode(World& world, Network& network, std::size_t index, node::CoreOptions options)
    : world_(world),
      network_(network),
      index_(index),
      options_(std::move(options)),
      rng_(world.rng.fork()),
      fs_(std::make_unique<test::MemoryFs>()) {
    set_addresses();
}

SimNode::~SimNode() {
    if (core_) end(false);
}

void SimNode::set_addresses() {
    const std::string host = "10.0." + std::to_string(index_) + "." + std::to_string(1 + moves_);
    options_.gossip = {host, 7946};
    options_.transfer = {host, 7947};
    options_.http = {host, 5000};
}

bool SimNode::start(const std::vector<Endpoint>& seeds) {
    executor_ = std::make_unique<SimExecutor>(world_, index_);
    store::Options options;
    options.dir = kDataDir;
    options.random = [rng = std::make_shared<Rng>(rng_.fork())](std::span<std::byte> out) {
        for (auto& byte : out) byte = static_cast<std::byte>(rng->next());
    };
    options.wall_ms = [this] { return world_.wall_ms(); };
    options.max_bytes = store_max_bytes;
    auto opened = store::Store::open(*fs_, *executor_, std::move(options));
    if (!opened) {
        world_.note("node " + std::to_string(index_) + " does not start: " + describe(opened.error()));
        return false;
    }
    store_ = std::move(*opened);
    id_ = store_->identity().node;
    port_ = std::make_unique<Port>(network_, index_);
    port_->clock_skew_ms = clock_skew_ms;
    core_ = std::make_unique<node::Core>(*port_, *store_, options_, rng_.fork());
    ++life_;
    stopping_ = false;
    network_.attach(index_, id_, options_.gossip, options_.transfer, *port_, *core_);
    world_.note("node " + std::to_string(index_) + " starts as " + id_.brief() + " epoch " +
                std::to_string(store_->identity().boot_epoch) + " at " + options_.gossip.str());
    core_->start(seeds);
    return true;
}

void SimNode::end(bool abruptly) {
    ++life_;
    network_.detach(index_, abruptly);
    fs_->stop_after(0);  // nothing that destructors do reaches the disk
    core_.reset();
    port_.reset();
    executor_.reset();
    store_.reset();
    stopping_ = false;
}

void SimNode::crash() {
    end(false);
    fs_->clear_faults();
}

void SimNode::power_cut() {
    end(true);
    fs_->power_cut(rng_);
}

void SimNode::wipe() {
    ++disk_life_;
    fs_ = std::make_unique<test::MemoryFs>();
}

void SimNode::move() {
    ++moves_;
    set_addresses();
}

void SimNode::stop(std::function<void()> then) {
    core_->stop();
    close(std::move(then));
}

void SimNode::leave(std::function<void()> then) {
    core_->leave();
    close(std::move(then));
}

void SimNode::close(std::function<void()> then) {
    stopping_ = true;
    const std::uint64_t life = life_;
    // The running node gives this five seconds and the bodies in flight thirty.
    world_.after(3s, [this, life, then = std::move(then)] {
        if (life != life_) return;
        store_->close([this, life, then](const Status& status) {
            if (life != life_) return;
            if (!status) world_.note("close: " + describe(status.error()));
            world_.after(1us, [this, life, then] {
                if (life != life_) return;
                crash();
                then();
            });
        });
    });
}

bool SimNode::flip_bit() {
    const auto blobs = store_->list();
    if (blobs.empty()) return false;
    const auto& entry = blobs[rng_.below(blobs.size())];
    if (entry.info.size == 0) return false;
    const std::string hex = entry.digest.hex();
    const std::string path = std::string(kDataDir) + "/blobs/" + std::string(name_of(entry.digest.alg)) + "/" +
                             hex.substr(0, 2) + "/" + hex;
    return fs_->flip_bit(path, rng_.below(entry.info.size), 3);
}

}  // namespace fastreg::sim
