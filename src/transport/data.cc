#include "transport/data.h"

namespace fastreg::transport {

std::string_view name_of(FetchEnd end) {
    switch (end) {
        case FetchEnd::all_sent_to_sink: return "all_sent_to_sink";
        case FetchEnd::busy: return "busy";
        case FetchEnd::not_here: return "not_here";
        case FetchEnd::link_lost: return "link_lost";
        case FetchEnd::protocol_error: return "protocol_error";
        case FetchEnd::no_slot: return "no_slot";
        case FetchEnd::cancelled: return "cancelled";
    }
    return "link_lost";
}

}  // namespace fastreg::transport
