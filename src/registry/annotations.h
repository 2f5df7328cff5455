// Annotations of a manifest as one JSON object, for a row of the repository. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "registry/manifest.h"

namespace fastreg::registry {

/// "" when there are none.
[[nodiscard]] std::string annotations_json(const Annotations& annotations);
/// Whatever is not an object of texts is left out.
[[nodiscard]] Annotations annotations_from_json(std::string_view json);

}  // namespace fastreg::registry
