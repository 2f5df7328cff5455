// What the command line asks for. Pure but for CLI11's own parsing; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fastreg::cli {

enum class Command : std::uint8_t {
    serve,
    status,
    peers,
    blobs,
    blob,
    join,
    leave,
    drain,
    verify,
    pin,
    unpin,
    key_show,
    config_check,
    doctor,
    bench,
    version,
};
/// As typed: "status", "key show".
[[nodiscard]] std::string_view name_of(Command command);

struct Invocation {
    Command command = Command::serve;
    bool help = false;      // explain the command instead of running it
    bool top_help = false;  // no command was named: explain the program
    bool json = false;
    bool watch = false;     // peers
    bool wait = true;       // leave, drain, verify: until it is done
    std::string timeout;      // leave: how long it hands off; empty: as usual
    bool defaults = false;  // config check: print the default file
    std::uint64_t times = 0;  // peers --watch: stop after so many; 0: never
    std::uint64_t limit = 0;  // blobs: so many at most; 0: all
    double seconds = 0;       // bench: of one measurement; 0: as usual
    std::string transports;   // bench: "tcp,rdma"; empty: those that both ends have
    std::string sizes;        // bench: "64KiB,1MiB"; empty: as usual
    std::string depths;       // bench: "1,4,8"; empty: as usual
    std::string argument;     // blob DIGEST, join ADDR, verify [DIGEST], pin DIGEST, config check [FILE], bench PEER
    std::string admin;        // ADDR:PORT, or empty
    std::optional<std::string> config_file;
    std::vector<std::pair<std::string, std::string>> settings;  // {TOML path, text} as typed
};

/// Without the program's name. Every error is a usage error (exit code 2) and names the nearest
/// flag or command where a word is unknown.
[[nodiscard]] Result<Invocation> parse_arguments(std::span<const std::string> arguments);

}  // namespace fastreg::cli
