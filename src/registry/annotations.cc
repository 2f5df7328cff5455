#include "registry/annotations.h"

#include <nlohmann/json.hpp>

namespace fastreg::registry {

std::string annotations_json(const Annotations& annotations) {
    if (annotations.empty()) return {};
    auto object = nlohmann::json::object();
    for (const auto& [key, value] : annotations) object[key] = value;
    return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Annotations annotations_from_json(std::string_view json) {
    Annotations annotations;
    const auto object = nlohmann::json::parse(json, nullptr, false);
    if (!object.is_object()) return annotations;
    for (const auto& [key, value] : object.items()) {
        if (value.is_string()) annotations.emplace_back(key, value.get<std::string>());
    }
    return annotations;
}

}  // namespace fastreg::registry
