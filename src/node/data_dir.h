// The data directory at the start: made if it is not there, and refused in words when it cannot hold
// anything. Blocking; before the cluster key and the store, which are in it.
#pragma once

#include <string>

#include "base/result.h"

namespace fastreg::node {

/// A directory at `path` that this user may write to. The error says what to do.
[[nodiscard]] Status prepare_data_dir(const std::string& path);

/// Why a start on the directory at `path` failed; when there was no space, with what to do then.
[[nodiscard]] Error explain_full(const std::string& path, Error error);

}  // namespace fastreg::node
