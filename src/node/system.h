// What a node asks of the operating system once, at its start.
#pragma once

#include <cstdint>
#include <string>

#include "base/endpoint.h"
#include "base/result.h"

namespace fastreg::node {

/// Raises the soft limit of open files to the hard one; returns what it is then.
std::uint64_t raise_file_limit();

/// The address others dial for a listener: `configured` when set, the listen address when it names one,
/// else that of the interface of the default route, else loopback.
[[nodiscard]] std::string advertised_host(const std::string& configured, const std::string& listen_host);

/// Bytes of the file system that holds `path` (or its nearest parent that exists).
[[nodiscard]] Result<std::uint64_t> file_system_size(const std::string& path);

/// The whole file appears at once or not at all.
Status write_whole_file(const std::string& path, const std::string& text);
/// Fine when it is not there.
void remove_file(const std::string& path);

}  // namespace fastreg::node
