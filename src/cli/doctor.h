// `fastreg doctor`: the checks of node/doctor.h, what the running node says of itself and of others, and how
// both are shown. Blocking; main thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "cli/admin_client.h"
#include "cli/commands.h"
#include "node/doctor.h"

namespace fastreg::cli {

/// The checks of this machine. Tests bring their own.
using Examine = std::function<std::vector<node::Finding>(const config::Config&, const node::Running&)>;

/// 1 when something failed, 5 when there are warnings only.
[[nodiscard]] Exit examine_machine(const Invocation& invocation,
                                   const Console& console,
                                   const Examine& examine = node::examine);

/// "Tue, 15 Nov 1994 08:12:31 GMT" in milliseconds since 1970; nothing where it is another text.
[[nodiscard]] std::optional<std::int64_t> parse_http_date(std::string_view text);

}  // namespace fastreg::cli
