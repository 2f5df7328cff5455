#include "cli/json_view.h"

namespace fastreg::cli {

const Json& at(const Json& json, Path path) {
    static const Json nothing;
    const Json* here = &json;
    for (const std::string_view name : path) {
        if (!here->is_object()) return nothing;
        const auto found = here->find(std::string(name));
        if (found == here->end()) return nothing;
        here = &*found;
    }
    return *here;
}

std::string text_at(const Json& json, Path path) {
    const Json& value = at(json, path);
    return value.is_string() ? safe(value.get_ref<const std::string&>()) : std::string();
}

std::uint64_t number_at(const Json& json, Path path) {
    const Json& value = at(json, path);
    if (value.is_number_unsigned()) return value.get<std::uint64_t>();
    if (value.is_number_integer()) return 0;  // negative
    // A larger double does not fit; uptime may come with a fraction.
    if (value.is_number_float() && value.get<double>() >= 0 && value.get<double>() < 1e18) {
        return static_cast<std::uint64_t>(value.get<double>());
    }
    return 0;
}

bool flag_at(const Json& json, Path path) {
    const Json& value = at(json, path);
    return value.is_boolean() && value.get<bool>();
}

std::string pretty(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace); }
std::string compact(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Answer ask(const AdminClient& client, std::string_view method, std::string_view path,
           const Json& body) {
    Answer answer;
    const auto reply = client.ask(method, path, body.is_null() ? std::string() : compact(body));
    if (!reply) {
        const bool unreachable = reply.error().code == Errc::unavailable ||
                                 reply.error().code == Errc::timeout;
        answer.exit = unreachable ? Exit::unreachable : Exit::failed;
        answer.complaint = reply.error().what;
        return answer;
    }
    answer.json = Json::parse(reply->body, nullptr, false);
    if (reply->status >= 200 && reply->status < 300 && !answer.json.is_discarded()) return answer;
    answer.exit = Exit::failed;
    if (answer.json.is_discarded() && reply->status != 404) {
        answer.json = nullptr;
        answer.complaint = "the node at " + client.target().str() + " answered " +
                           std::to_string(reply->status) +
                           " without JSON; is that its admin.listen? `fastreg status` there names it";
        return answer;
    }
    const std::string code = text_at(answer.json, {"error", "code"});
    answer.complaint = text_at(answer.json, {"error", "message"});
    if (answer.complaint.empty()) {
        answer.complaint = "the node answered " + std::to_string(reply->status) + " to " +
                           std::string(method) + " " + std::string(path);
    }
    // The registry's port, or any other server: an admin listener's errors are of another shape.
    if (reply->status == 404 && code.empty()) {
        answer.exit = Exit::unreachable;
        answer.complaint = client.target().str() + " is not an admin listener; name the node's admin.listen";
        return answer;
    }
    if (reply->status == 404 && code != "unknown_path") answer.exit = Exit::not_found;
    return answer;
}

Exit refuse(const Answer& answer, const Console& console) {
    console.complain(answer.complaint);
    return answer.exit;
}

}  // namespace fastreg::cli
