// From the command line to a command.
#include <fmt/format.h>

#include <cstdlib>
#include <ostream>

#include "cli/commands.h"
#include "cli/doctor.h"
#include "cli/help.h"
#include "cli/json_view.h"
#include "cli/sources.h"

namespace fastreg::cli {
namespace {

// The admin socket of the data directory that the flag names, or else the configuration.
Result<AdminTarget> find_node(const Invocation& invocation) {
    if (!invocation.admin.empty()) {
        // The `ready` line and `status` name the socket; whoever copies it means it.
        if (invocation.admin.find('/') != std::string::npos) {
            return AdminTarget{config::absolute(invocation.admin, working_dir()), {}};
        }
        auto address = Endpoint::parse(invocation.admin);
        if (!address) return fail(Errc::invalid_argument, "--admin: " + address.error().what);
        if (address->port == 0) {
            return fail(Errc::invalid_argument,
                        "--admin: the port may not be 0; `fastreg status` on that machine names it");
        }
        return AdminTarget{"", *std::move(address)};
    }
    // With a data directory on the command line, a configuration that is broken or not readable for
    // this user is no matter.
    for (const auto& [path, value] : invocation.settings) {
        if (path == "data-dir" && !value.empty()) {
            return AdminTarget{config::absolute(value, working_dir()) + "/admin.sock", {}};
        }
    }
    FR_TRY_ASSIGN(const config::Sources sources, gather(invocation));
    FR_TRY_ASSIGN(const config::Config config, config::load(sources));
    return AdminTarget{config.admin_socket(), {}};
}

Exit show_version(const Invocation& invocation, const Console& console) {
    if (invocation.json) {
        console.out << pretty(Json{{"version", FR_VERSION}}) << '\n';
    } else {
        console.out << "fastreg " << FR_VERSION << '\n';
    }
    return Exit::done;
}

}  // namespace

Exit run(std::span<const std::string> arguments, const Console& console, const Pace& pace) {
    const auto parsed = parse_arguments(arguments);
    if (!parsed) {
        console.complain(parsed.error().what);
        console.err << "`fastreg --help` lists the commands, `fastreg COMMAND --help` their flags.\n";
        return Exit::usage;
    }
    if (parsed->help) {
        console.out << (parsed->top_help ? program_help()
                                         : command_help(parsed->command, console.width));
        return Exit::done;
    }
    switch (parsed->command) {
        case Command::serve: return serve(*parsed, console);
        case Command::config_check: return check_config(*parsed, console);
        case Command::doctor: return examine_machine(*parsed, console);
        case Command::version: return show_version(*parsed, console);
        default: break;
    }
    const auto target = find_node(*parsed);
    if (!target) {
        console.complain(describe(target.error()));
        return Exit::usage;
    }
    const AdminClient node(*target);
    switch (parsed->command) {
        case Command::status: return show_status(*parsed, node, console);
        case Command::peers: return show_peers(*parsed, node, console, pace);
        case Command::blobs: return show_blobs(*parsed, node, console);
        case Command::blob: return show_blob(*parsed, node, console);
        case Command::join: return join_mesh(*parsed, node, console);
        case Command::leave:
        case Command::drain: return leave_mesh(*parsed, node, console, pace);
        case Command::verify: return verify_blobs(*parsed, node, console, pace);
        case Command::pin: return pin_blob(*parsed, true, node, console);
        case Command::unpin: return pin_blob(*parsed, false, node, console);
        case Command::bench: return bench_peer(*parsed, node, console);
        default: return show_key(*parsed, node, console);
    }
}

}  // namespace fastreg::cli
