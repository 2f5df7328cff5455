// The cluster key on disk: read it, or make it on the first start. Blocking; start-up and commands.
#pragma once

#include <string>

#include "base/result.h"
#include "config/config.h"

namespace fastreg::node {

/// The content of the key file, trimmed. Errc::not_found when there is none.
[[nodiscard]] Result<std::string> load_key(const config::Config& config);

/// load_key; without a file, a node without seeds makes one (mode 0600, 64 hex digits) at the default
/// path, <data-dir>/cluster.key. A node with seeds, and one whose cluster_key_file is another path,
/// gets Errc::not_found with the sentence that says what to copy from where. With insecure_mesh and
/// no file: an empty key. The data directory is there: see node/data_dir.h.
[[nodiscard]] Result<std::string> load_or_make_key(const config::Config& config);

}  // namespace fastreg::node
