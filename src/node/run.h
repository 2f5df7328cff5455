// The entry point of one node. Called once, by the main thread, which becomes the loop thread.
#pragma once

#include "base/result.h"
#include "config/config.h"

namespace fastreg::node {

/// Serves until SIGTERM, SIGINT or `leave`. Ok when it stopped as asked; the error says what could
/// not be started or what broke.
[[nodiscard]] Status run(const config::Config& config);

}  // namespace fastreg::node
