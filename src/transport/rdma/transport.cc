#include "transport/rdma/transport.h"

#include <algorithm>
#include <utility>

#include "transport/rdma/driver.h"
#include "uv/loop.h"
#include "uv/loop_thread.h"

namespace fastreg::transport {

using rdma::Driver;
using rdma::Engine;
using rdma::RdmaEvents;

struct RdmaTransport::Impl {
    using Options = RdmaTransport::Options;
    Impl(uv::Loop& on, RdmaEvents& events) : loop(on), gate(std::make_shared<RdmaEvents*>(&events)) {}
    ~Impl() {
        *gate = nullptr;
        thread.call([this] { driver.reset(); });
    }

    void note_devices(std::vector<rdma::Device> now) {
        devices = std::move(now);
        advertised.host = rdma::host_to_advertise(devices, options.advertise, options.listen.host, leads_to);
    }

    /// Runs `job(engine, now)` on the rdma thread.
    template <class F>
    void order(F job) {
        thread.post([driver = driver.get(), job = std::move(job)]() mutable { driver->run(std::move(job)); });
    }

    uv::Loop& loop;
    std::shared_ptr<RdmaEvents*> gate;  // what it points to: the loop thread only
    rdma::Counters counters;
    Options options;
    Endpoint advertised;
    std::optional<rdma::DeviceIndex> leads_to;  // the configured address; see host_to_advertise()
    std::vector<rdma::Device> devices;
    std::size_t landing_slots = 0;
    std::size_t source_slots = 0;
    uv::LoopThread thread{"rdma"};
    std::unique_ptr<Driver> driver;  // on `thread`; its end is the last job there
};

RdmaTransport::RdmaTransport(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RdmaTransport::~RdmaTransport() = default;

Result<std::unique_ptr<RdmaTransport>> RdmaTransport::open(uv::Loop& loop, Options options, RdmaEvents& events) {
    auto impl = std::make_unique<Impl>(loop, events);
    Status started;
    std::vector<rdma::Device> found;
    impl->thread.call([&] {
        const auto tell = [&to = impl->loop, gate = impl->gate](std::function<void(RdmaEvents&)> job) {
            to.post([gate, job = std::move(job)] {
                if (*gate != nullptr) job(**gate);
            });
        };
        // Called until the driver ends, and so while `raw` lives; its job runs before that ends, too.
        const auto on_devices = [raw = impl.get(), gate = impl->gate](const std::vector<rdma::Device>& now) {
            raw->loop.post([raw, gate, now] {
                if (*gate == nullptr) return;
                raw->note_devices(now);
                (*gate)->on_devices();
            });
        };
        impl->driver = std::make_unique<Driver>(impl->thread, tell, on_devices, impl->counters);
        started = impl->driver->start({options.ack_timeout, options.tos}, options.engine, options.landing_slots_min,
                                      options.listen);
        if (!started) return;
        impl->advertised.port = impl->driver->port();
        impl->landing_slots = impl->driver->options().landing_slots;
        impl->source_slots = impl->driver->options().source_slots;
        found = impl->driver->verbs().devices();
    });
    if (!started) return tl::unexpected<Error>(std::move(started).error());
    impl->options = std::move(options);
    impl->note_devices(std::move(found));
    return std::unique_ptr<RdmaTransport>(new RdmaTransport(std::move(impl)));
}

const Endpoint& RdmaTransport::advertised() const { return impl_->advertised; }
const std::vector<rdma::Device>& RdmaTransport::devices() const { return impl_->devices; }
const rdma::Counters& RdmaTransport::counters() const { return impl_->counters; }
std::size_t RdmaTransport::landing_slots() const { return impl_->landing_slots; }
std::size_t RdmaTransport::at_once() const {
    const rdma::LinkOptions& links = impl_->options.engine.links;
    return rdma::slots_of_one_peer(impl_->landing_slots, links);
}
std::size_t RdmaTransport::source_slots() const { return impl_->source_slots; }

void RdmaTransport::connect(NodeId peer, const Endpoint& address) {
    impl_->order([peer, address](Engine& engine, Instant now) { engine.connect(now, peer, address); });
}

std::size_t RdmaTransport::active_devices() const {
    return static_cast<std::size_t>(std::ranges::count(impl_->devices, true, &rdma::Device::active));
}

void RdmaTransport::fetch(FetchOrder order) {
    FR_ASSERT(order.request != 0 && order.sink);
    impl_->order([order = std::move(order)](Engine& engine, Instant now) mutable {
        engine.fetch(now, std::move(order));
    });
}

void RdmaTransport::cancel_fetch(NodeId from, RequestId request) {
    impl_->order([from, request](Engine& engine, Instant now) { engine.cancel_fetch(now, from, request); });
}

void RdmaTransport::serve(ServeOrder order) {
    impl_->order([order = std::move(order)](Engine& engine, Instant now) mutable {
        engine.serve(now, std::move(order));
    });
}

void RdmaTransport::refuse(NodeId to, const wire::Busy& busy) {
    impl_->order([to, busy](Engine& engine, Instant now) {
        engine.refuse(now, to, busy.request, wire::RdmaNack::Why::busy, false, busy.try_instead);
    });
}

void RdmaTransport::refuse(NodeId to, const wire::NotHere& absent) {
    impl_->order([to, absent](Engine& engine, Instant now) {
        engine.refuse(now, to, absent.request, wire::RdmaNack::Why::not_here, absent.whole, {});
    });
}

void RdmaTransport::drop(NodeId peer, const std::string& why) {
    impl_->order([peer, why](Engine& engine, Instant now) { engine.drop(now, peer, why); });
}

}  // namespace fastreg::transport
