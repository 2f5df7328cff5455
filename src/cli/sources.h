// Gathers what a configuration is made from on this machine: the file, the environment, the flags.
// Main thread.
#pragma once

#include "base/result.h"
#include "cli/arguments.h"
#include "config/config.h"

namespace fastreg::cli {

inline constexpr std::string_view kDefaultConfigFile = "/etc/fastreg/fastreg.toml";

/// Reads --config, else $FASTREG_CONFIG, else the default file if it exists. An error when a file
/// that was named cannot be read.
[[nodiscard]] Result<config::Sources> gather(const Invocation& invocation);

/// Of this process; "" when it has none any more.
[[nodiscard]] std::string working_dir();

/// A whole small file; more than `limit` bytes is an error.
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t limit);

}  // namespace fastreg::cli
