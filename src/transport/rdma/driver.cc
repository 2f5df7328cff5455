#include "transport/rdma/driver.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/log.h"
#include "transport/rdma/machine.h"
#include "uv/loop.h"

namespace fastreg::transport::rdma {
namespace {

constexpr std::size_t kReaders = 2;
constexpr std::string_view kRaise =
    "LimitMEMLOCK=infinity, --ulimit memlock=-1 --cap-add=IPC_LOCK, or ulimit -l unlimited";

bool read_all(int fd, std::uint64_t offset, std::span<std::byte> into) {
    while (!into.empty()) {
        const auto got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        into = into.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return true;
}

}  // namespace

struct Driver::Watch final : uv::PollHandler {
    std::optional<DeviceIndex> device;
    std::function<void()> ready;
    uv::Poll poll;
    void on_readable() override { ready(); }
    void on_writable() override {}
    void on_poll_error(int) override { poll.close(); }  // the device is gone, and says so elsewhere
};

Driver::Driver(uv::LoopThread& thread, Tell tell, OnDevices on_devices, Counters& counters)
    : thread_(thread),
      loop_(thread.loop()),
      tell_(std::move(tell)),
      on_devices_(std::move(on_devices)),
      counters_(counters),
      self_(std::make_shared<Driver*>(this)),
      gate_(std::make_shared<Gate>()),
      timer_(loop_, [this] { run([](Engine& engine, Instant now) { engine.on_deadline(now); }); }) {
    gate_->thread = &thread_;
}

Driver::~Driver() {
    *self_ = nullptr;
    {
        const std::lock_guard lock(gate_->mutex);
        gate_->thread = nullptr;
    }
    if (verbs_) verbs_->set_on_released({});
    readers_.clear();  // joined: nobody writes into the source pool any more
    watches_.clear();
    engine_.reset();
    verbs_.reset();
}

Status Driver::start(IbVerbs::Options verbs, Engine::Options engine, std::size_t landing_slots_min,
                     const Endpoint& listen) {
    FR_TRY_ASSIGN(verbs_, IbVerbs::open(verbs));
    // Blocks of landed chunks outlive this driver and its thread while the store still holds them.
    const auto freed = [self = self_, gate = gate_] {
        const std::lock_guard lock(gate->mutex);
        if (gate->thread == nullptr) return;
        gate->thread->post([self] {
            if (*self != nullptr) (*self)->run([](Engine& e, Instant now) { e.on_slot_freed(now); });
        });
    };
    const std::size_t wanted = engine.landing_slots;
    Slots slots{engine.landing_slots, engine.source_slots};
    // Before any of it is in memory: a container may be allowed much less than the pools want.
    if (const LockedMemory memory = locked_memory(); !memory.may_exceed && memory.limit != LockedMemory::kUnlimited) {
        slots = slots_within(memory.limit, slots, landing_slots_min, verbs_->devices().size());
    }
    std::optional<Error> refused;
    while (!engine_) {
        if (slots.landing < landing_slots_min) {
            return fail(Errc::permission_denied,
                        "pinning the memory of " + std::to_string(landing_slots_min) +
                            " RDMA slots of 4 MiB is not allowed; raise the limit of locked memory (" +
                            std::string(kRaise) + ")",
                        refused ? refused->os_errno : ENOMEM);
        }
        engine.landing_slots = slots.landing;
        engine.source_slots = slots.source;
        auto made = Engine::create(*verbs_, engine, *this, counters_, freed);
        if (made) {
            engine_ = std::move(*made);
        } else {
            refused = made.error();
        }
        slots = half_of(slots);
    }
    if (engine.landing_slots < wanted) {
        log::warn("rdma.fewer_slots", {{"wanted", wanted},
                                       {"landing_slots", engine.landing_slots},
                                       {"source_slots", engine.source_slots},
                                       {"do", "raise the limit of locked memory (" + std::string(kRaise) + ")"}});
    }
    options_ = engine;
    FR_TRY_ASSIGN(port_, engine_->listen(listen));
    verbs_->set_on_released([this](DeviceIndex gone) {
        for (const auto& each : watches_) {
            if (each->device == gone) each->poll.close();  // may be the one that is running: freed at the end
        }
    });
    told_ = verbs_->devices();
    FR_TRY(watch(std::nullopt, verbs_->cm_descriptor(), [this] { on_cm_events(); }));
    for (DeviceIndex i = 0; i < verbs_->devices().size(); ++i) {
        FR_TRY(watch(i, verbs_->completion_descriptor(i), [this, i] { on_completions(i); }));
        FR_TRY(watch(i, verbs_->async_descriptor(i), [this, i] {
            verbs_->read_async_events(i);
            on_cm_events();
        }));
    }
    for (std::size_t i = 0; i < kReaders; ++i) readers_.push_back(std::make_unique<Worker>("fr-rdma-read"));
    plan();
    return {};
}

Status Driver::watch(std::optional<DeviceIndex> device, int fd, std::function<void()> on_readable) {
    auto made = std::make_unique<Watch>();
    made->device = device;
    made->ready = std::move(on_readable);
    FR_TRY_ASSIGN(made->poll, uv::Poll::open(loop_, fd, *made));
    made->poll.watch(true, false);
    watches_.push_back(std::move(made));
    return {};
}

void Driver::on_cm_events() {
    run([this](Engine& engine, Instant now) {
        if (engine.on_cm_events(now)) later([](Driver& driver) { driver.on_cm_events(); });
    });
    if (told_ == verbs_->devices()) return;
    told_ = verbs_->devices();
    on_devices_(told_);
}

void Driver::on_completions(DeviceIndex device) {
    run([&](Engine& engine, Instant now) {
        if (engine.on_completions(now, device)) later([device](Driver& driver) { driver.on_completions(device); });
    });
}

void Driver::plan() {
    const Instant next = engine_->next_deadline();
    if (next == Instant::never()) {
        timer_.cancel();
    } else {
        timer_.set(next);
    }
}

void Driver::later(std::function<void(Driver&)> job) {
    thread_.post([self = self_, job = std::move(job)] {
        if (*self != nullptr) job(**self);
    });
}

// --- what the engine says ----------------------------------------------------------------------

void Driver::on_message(NodeId from, wire::TransferMessage message) {
    tell_([from, message = std::move(message)](RdmaEvents& events) { events.on_message(from, message); });
}

void Driver::on_fetch_done(NodeId from, RequestId request, FetchEnd end) {
    tell_([=](RdmaEvents& events) { events.on_fetch_done(from, request, end); });
}

void Driver::on_progress(NodeId from, RequestId request, std::uint64_t bytes) {
    tell_([=](RdmaEvents& events) { events.on_progress(from, request, bytes); });
}

void Driver::on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) {
    tell_([=](RdmaEvents& events) { events.on_served(to, request, ok, bytes); });
}

void Driver::on_link_up(NodeId peer) {
    tell_([=](RdmaEvents& events) { events.on_link_up(peer); });
}

void Driver::on_asker_gone(NodeId peer) {
    tell_([=](RdmaEvents& events) { events.on_asker_gone(peer); });
}

void Driver::on_link_down(NodeId peer, const std::string& why, bool orderly) {
    tell_([=](RdmaEvents& events) { events.on_link_down(peer, why, orderly); });
}

void Driver::read(std::size_t slot, std::shared_ptr<const FileRef> file, std::uint64_t offset,
                  std::span<std::byte> into) {
    readers_[turn_++ % readers_.size()]->post([self = self_, &thread = thread_, slot, file = std::move(file), offset,
                                               into] {
        const bool ok = read_all(file->fd(), offset, into);
        thread.post([self, slot, ok] {
            if (*self != nullptr) (*self)->run([=](Engine& e, Instant now) { e.on_read(now, slot, ok); });
        });
    });
}

}  // namespace fastreg::transport::rdma
