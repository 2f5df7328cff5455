// The commands that talk to a node, and those that talk to nobody. Each prints to the console and
// returns the exit code. Blocking; main thread.
#pragma once

#include <span>
#include <string>

#include "base/instant.h"
#include "cli/admin_client.h"
#include "cli/arguments.h"
#include "cli/terminal.h"

namespace fastreg::cli {

/// How often a command that waits asks again. Tests hurry.
struct Pace {
    Duration watch = 1s;
    Duration poll = 500ms;
};

[[nodiscard]] Exit show_status(const Invocation& invocation, const AdminClient& node,
                               const Console& console);
[[nodiscard]] Exit show_peers(const Invocation& invocation, const AdminClient& node,
                              const Console& console, const Pace& pace);
[[nodiscard]] Exit show_blobs(const Invocation& invocation, const AdminClient& node,
                              const Console& console);
[[nodiscard]] Exit show_blob(const Invocation& invocation, const AdminClient& node,
                             const Console& console);
[[nodiscard]] Exit join_mesh(const Invocation& invocation, const AdminClient& node,
                             const Console& console);
[[nodiscard]] Exit leave_mesh(const Invocation& invocation, const AdminClient& node,
                              const Console& console, const Pace& pace);
[[nodiscard]] Exit verify_blobs(const Invocation& invocation, const AdminClient& node,
                                const Console& console, const Pace& pace);
[[nodiscard]] Exit pin_blob(const Invocation& invocation, bool pinned, const AdminClient& node,
                            const Console& console);
[[nodiscard]] Exit bench_peer(const Invocation& invocation, const AdminClient& node,
                              const Console& console);
/// Asks the node; when none answers and --admin was not given, reads the key file.
[[nodiscard]] Exit show_key(const Invocation& invocation, const AdminClient& node,
                            const Console& console);
[[nodiscard]] Exit check_config(const Invocation& invocation, const Console& console);
[[nodiscard]] Exit serve(const Invocation& invocation, const Console& console);

/// The whole program: parses, finds the node, runs the command.
[[nodiscard]] Exit run(std::span<const std::string> arguments, const Console& console,
                       const Pace& pace = {});

}  // namespace fastreg::cli
