// What the connection manager and the devices tell, and the end of a device that was removed.
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "transport/rdma/ibverbs_impl.h"

namespace fastreg::transport::rdma {
namespace {

using Type = CmEvent::Type;

/// Of events of completion queues: acknowledging takes a lock.
constexpr unsigned kAckAtOnce = 64;

constexpr std::string_view kNewDevice =
    "restart the node to use the RDMA device that appeared after its start: its memory is not registered there";

std::string reject_word(int status) {
    switch (status) {
        case 8: return "nobody listens there";
        case 10: return "the peer still has a connection of an earlier life";
        case 28: return "refused by the peer";
        case -ECONNREFUSED: return "nobody listens there";
        default: return "refused (status " + std::to_string(status) + ")";
    }
}

}  // namespace

CmEvent IbVerbs::Impl::copy(const rdma_cm_event& from) const {
    CmEvent event;
    event.conn = reinterpret_cast<ConnId>(from.id->context);
    const rdma_conn_param& param = from.param.conn;
    const auto keep_data = [&] {
        const auto* data = static_cast<const std::byte*>(param.private_data);
        if (data != nullptr) event.data.assign(data, data + param.private_data_len);
    };
    switch (from.event) {
        case RDMA_CM_EVENT_ADDR_RESOLVED: event.type = Type::address_resolved; break;
        case RDMA_CM_EVENT_ROUTE_RESOLVED: event.type = Type::route_resolved; break;
        case RDMA_CM_EVENT_CONNECT_REQUEST:
            event.type = Type::connect_request;
            keep_data();
            event.remote = address_text(rdma_get_peer_addr(from.id));
            break;
        case RDMA_CM_EVENT_ESTABLISHED:
            event.type = Type::established;
            keep_data();
            break;
        case RDMA_CM_EVENT_REJECTED:
            event.type = Type::rejected;
            event.why = reject_word(from.status);
            keep_data();
            break;
        case RDMA_CM_EVENT_DISCONNECTED:
            event.type = Type::disconnected;
            event.why = "the peer disconnected";
            break;
        case RDMA_CM_EVENT_ADDR_CHANGE:
            event.type = Type::disconnected;
            event.why = "an address of this machine has moved";
            break;
        case RDMA_CM_EVENT_DEVICE_REMOVAL: event.type = Type::device_removed; break;
        default:
            event.type = Type::failed;
            event.why = std::string(rdma_event_str(from.event)) + " (" +
                        (from.status < 0 ? std::strerror(-from.status) : std::to_string(from.status)) + ")";
    }
    return event;
}

void IbVerbs::Impl::note_removal(DeviceIndex index) {
    handles[index].removed = true;
    devices[index].active = false;
    handles[index].sentinel.reset();
}

void IbVerbs::Impl::release_removed() {
    for (DeviceIndex i = 0; i < handles.size(); ++i) {
        OneDevice& handle = handles[i];
        if (!handle.removed || handle.context == nullptr) continue;
        const auto on_it = [&](const auto& entry) { return entry.second.device == i; };
        if (std::ranges::any_of(conns, on_it)) continue;
        if (on_released) on_released(i);
        handle.landing.clear();
        handle.source.clear();
        handle.completions.reset();
        handle.landing_pd.reset();
        handle.source_pd.reset();
        ibv_context* context = std::exchange(handle.context, nullptr);
        rdma_free_devices(contexts);
        int count = 0;
        contexts = rdma_get_devices(&count);
        if (contexts == nullptr || count == 0) {
            // It does not look through an empty list (sync_devices_list of librdmacm), so the last device is
            // closed here; librdmacm must find no reason any more to look at what it remembers of it.
            listener.reset();
            none_left = true;
            (void)ibv_close_device(context);
        }
        log::warn("rdma.device_removed", {{"device", devices[i].name}, {"chunks_go_by", "tcp"}});
    }
}

std::optional<CmEvent> IbVerbs::next_cm_event() {
    Impl& my = *impl_;
    if (!my.made_up.empty()) {
        CmEvent event = std::move(my.made_up.front());
        my.made_up.pop_front();
        return event;
    }
    while (true) {
        rdma_cm_event* raw = nullptr;
        if (rdma_get_cm_event(my.channel.get(), &raw) != 0) {
            my.release_removed();
            return std::nullopt;
        }
        CmEvent event = my.copy(*raw);
        rdma_cm_id* id = raw->id;
        const auto kind = raw->event;
        rdma_ack_cm_event(raw);  // before anything that destroys an id: that waits for it
        if (kind == RDMA_CM_EVENT_TIMEWAIT_EXIT) continue;
        // Nothing: one that came after the start (librdmacm opens it by itself), or one that was let go already.
        const auto device = id->verbs != nullptr ? my.index_of(id->verbs) : std::nullopt;
        if (kind == RDMA_CM_EVENT_DEVICE_REMOVAL) {
            if (id == my.listener.get()) my.listener.reset();
            if (!device) continue;
            event.device = *device;
            my.note_removal(event.device);
            return event;
        }
        if (kind == RDMA_CM_EVENT_CONNECT_REQUEST) {
            if (!device || my.handles[*device].removed) {
                if (const auto more = my.new_device.pass(monotonic_now())) {
                    log::warn("rdma.new_device",
                              {{"from", event.remote}, {"more", *more}, {"do", std::string(kNewDevice)}});
                }
                (void)rdma_reject(id, nullptr, 0);
                const CmId refused(id);
                continue;
            }
            Conn& conn = my.adopt(id);
            conn.device = event.device = *device;
            event.conn = conn.id;
        } else if (Conn* conn = my.find(event.conn)) {
            if (device) {
                conn->device = *device;
            } else if (event.type == Type::address_resolved) {
                event.type = Type::failed;
                event.why = kNewDevice;
            }
            event.device = conn->device;
            if (event.type != Type::address_resolved && event.type != Type::route_resolved) conn->connecting = false;
            if (event.type == Type::established) {
                conn->established = true;
                if (conn->unwanted) (void)rdma_disconnect(id);
            }
            // The way to an established peer was lost: not a failure to connect.
            if (event.type == Type::failed && conn->established) event.type = Type::disconnected;
        }
        return event;
    }
}

std::vector<ConnId> IbVerbs::completed(DeviceIndex device) {
    std::vector<ConnId> said;
    ibv_comp_channel* channel = impl_->handles[device].completions.get();
    if (channel == nullptr) return said;  // the device was removed
    ibv_cq* cq = nullptr;
    void* context = nullptr;
    while (ibv_get_cq_event(channel, &cq, &context) == 0) {
        const auto id = reinterpret_cast<ConnId>(context);
        Conn* conn = impl_->find(id);
        if (conn == nullptr) continue;
        if (++conn->events_unacked >= kAckAtOnce) ibv_ack_cq_events(cq, std::exchange(conn->events_unacked, 0));
        said.push_back(id);
    }
    // Armed before they are polled to the end: what comes in between tells of itself. Not while events are still read:
    // an adapter that is armed with completions unpolled tells of them at once, and the reading would find no end.
    for (const ConnId id : said) (void)ibv_req_notify_cq(impl_->at(id).cq.get(), 0);
    return said;
}

void IbVerbs::set_on_released(std::function<void(DeviceIndex)> on_released) {
    impl_->on_released = std::move(on_released);
}

void IbVerbs::read_async_events(DeviceIndex device) {
    ibv_context* context = impl_->handles[device].context;
    ibv_async_event event{};
    while (context != nullptr && ibv_get_async_event(context, &event) == 0) {
        const ibv_event_type type = event.event_type;
        const bool of_port =
            type == IBV_EVENT_PORT_ACTIVE || type == IBV_EVENT_PORT_ERR || type == IBV_EVENT_GID_CHANGE;
        const bool of_other_port = of_port && event.element.port_num != 1;  // not used: see open_device()
        ibv_ack_async_event(&event);
        Device& about = impl_->devices[device];
        if (of_other_port) continue;
        if (of_port) impl_->find_addresses();  // one may have come, or gone
        if (type == IBV_EVENT_PORT_ACTIVE || type == IBV_EVENT_PORT_ERR) {
            about.active = type == IBV_EVENT_PORT_ACTIVE;
            log::info("rdma.port", {{"device", about.name}, {"active", about.active}});
        } else if (type == IBV_EVENT_DEVICE_FATAL) {
            about.active = false;
            CmEvent removed;
            removed.type = Type::device_removed;
            removed.device = device;
            impl_->made_up.push_back(removed);
            impl_->note_removal(device);
            return;
        } else {
            log::debug("rdma.device_event", {{"device", about.name}, {"event", ibv_event_type_str(type)}});
        }
    }
}

}  // namespace fastreg::transport::rdma
