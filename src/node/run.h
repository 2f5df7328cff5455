// The entry point of one node. Called once, by the main thread, which becomes the loop thread.
#pragma once

#include <functional>

#include "base/result.h"
#include "config/config.h"

namespace fastreg::node {

/// Serves until SIGTERM, SIGINT or `leave`. Ok when it stopped as asked; the error says what could
/// not be started or what broke. `reread` makes the configuration anew on SIGHUP, from the same sources;
/// without it SIGHUP is only logged. log::start() was called.
using Reread = std::function<Result<config::Config>()>;
[[nodiscard]] Status run(const config::Config& config, Reread reread = {});

}  // namespace fastreg::node
