// The configuration of one node: a checked struct made from defaults, a TOML file, FASTREG_*
// variables and flags. Pure values; any thread. Every key, its limits and its help: config/keys.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/endpoint.h"
#include "base/instant.h"
#include "base/log.h"
#include "base/result.h"

namespace fastreg::config {

/// A door that is shut unless the configuration opens it.
enum class Gate : std::uint8_t { deny, allow };

/// An amount of the file system: bytes, or a percentage of its size.
struct Share {
    std::uint64_t bytes = 0;    // used when percent is 0
    std::uint32_t percent = 0;  // 1..100

    bool operator==(const Share&) const = default;
    /// In bytes, of a file system of that size.
    [[nodiscard]] std::uint64_t of(std::uint64_t file_system_bytes) const;
};

/// Port 0 means "any free port" in all of these.
struct Http {
    Endpoint listen{"::", 8080};  // the registry; "::" is dual stack

    bool operator==(const Http&) const = default;
};

struct Gossip {
    Endpoint listen{"::", 7946};  // membership and directory

    bool operator==(const Gossip&) const = default;
};

struct Transfer {
    Endpoint listen{"::", 7947};  // chunks over TCP
    std::string advertise_addr;   // what peers dial for chunks; empty: the same as advertise_addr

    bool operator==(const Transfer&) const = default;
};

/// Of the two the smaller room counts; cached copies make room in it, and what does not fit then is refused.
struct Store {
    Share max_bytes{0, 80};
    Share min_free{0, 5};  // as a percentage it never means less than kMinFreeFloor
    std::uint64_t high_watermark = 95;  // percent of the room: cached copies go when more is used
    std::uint64_t low_watermark = 90;   // down to here
    Duration backup_every = 600s;  // meta.db.bak, when meta.db has changed

    bool operator==(const Store&) const = default;
    [[nodiscard]] std::uint64_t min_free_of(std::uint64_t file_system_bytes) const;
};
inline constexpr std::uint64_t kMinFreeFloor = std::uint64_t{1} << 30;

/// Chunks by RDMA Write into slots that are registered once (docs/RDMA.md).
struct Rdma {
    bool enabled = false;
    std::string listen_addr = "0.0.0.0";
    std::uint64_t listen_port = 9999;  // 0: any free one
    std::string advertise_addr;        // empty: the first active device's
    std::uint64_t landing_slots = 128; // of 4 MiB each, pinned; what others may write into
    std::uint64_t source_slots = 64;   // of 4 MiB each, pinned; what is sent from
    std::uint64_t slots_per_peer = 8;  // the most granted to one peer at once
    std::uint64_t depth = 16;          // open requests of one connection
    std::uint64_t segment = std::uint64_t{1} << 20;  // bytes of one RDMA Write
    std::uint64_t ack_timeout = 14;    // 4.096 us * 2^n
    std::uint64_t tos = 0;             // type of service of the connections; 0: the system's

    bool operator==(const Rdma&) const = default;
};

struct Admin {
    Endpoint listen;  // empty: only the unix socket <data-dir>/admin.sock

    bool operator==(const Admin&) const = default;
};

struct Log {
    log::Level level = log::Level::info;
    log::Format format = log::Format::text;

    bool operator==(const Log&) const = default;
};

/// protocols.md section 11. Bytes, pieces and spans of time.
struct Limits {
    std::uint64_t manifest_bytes = std::uint64_t{4} << 20;
    std::uint64_t blob_bytes = std::uint64_t{1} << 40;
    std::uint64_t head_bytes = 32 * 1024;         // of an HTTP request
    std::uint64_t headers = 100;                  // of an HTTP request
    Duration head_timeout = 10s;                  // from the first byte of a head to its last
    Duration idle_timeout = 60s;                  // between two requests of one connection
    Duration progress_timeout = 30s;              // a body that does not move
    std::uint64_t connections = 10'000;           // HTTP, all addresses together
    std::uint64_t connections_per_address = 1024; // HTTP
    std::uint64_t uploads = 10'000;               // open upload sessions
    std::uint64_t tags_page = 100;                // tags/list without n
    std::uint64_t tags_page_max = 1000;           // tags/list with a larger n
    std::uint64_t members = 65'536;
    std::uint64_t inbound_requests_per_peer = 64; // chunk requests waiting or served
    std::uint64_t directory_entries = 2'000'000;
    std::uint64_t open_blobs = 1024;              // blob files kept open

    bool operator==(const Limits&) const = default;
};

struct Config {
    std::string data_dir;  // absolute after load(), without a slash at its end
    std::string name;      // a label in lists, at most 64 bytes; never empty after load()
    std::string cluster = "default";  // at most 64 bytes; other names never merge
    std::string cluster_key_file;     // absolute after load(); <data-dir>/cluster.key
    bool insecure_mesh = false;       // no proof of the key between nodes
    std::vector<Endpoint> join;       // seeds; none: a mesh of one
    std::string advertise_addr;       // what peers dial; empty: the default route's address
    std::string zone;                 // same zone first; at most 31 characters
    std::uint64_t replicas = 2;       // copies of a push before it is acknowledged, 1..16
    Gate remote_writes = Gate::deny;  // push from elsewhere than loopback, without TLS
    Gate deletes = Gate::deny;        // every deleting verb
    Duration stop_timeout = 30s;      // SIGTERM: what is in flight may end
    Duration push_timeout = 30s;      // a manifest waits so long for its copies
    std::uint64_t io_threads = 0;     // 0: the cores, at most 4
    std::uint64_t disk_threads = 0;   // 0: between 2 and 4, by cores
    std::uint64_t recv_pool = std::uint64_t{48} << 20;  // bytes of landing blocks

    Http http;
    Gossip gossip;
    Transfer transfer;
    Rdma rdma;
    Store store;
    Admin admin;
    Log log;
    Limits limits;

    bool operator==(const Config&) const = default;
    /// The explicit number, or what the machine's cores suggest.
    [[nodiscard]] unsigned io_threads_for(unsigned cores) const;
    [[nodiscard]] unsigned disk_threads_for(unsigned cores) const;
    /// Where cluster_key_file is unless it is named. Only there is a key made.
    [[nodiscard]] std::string default_key_file() const { return data_dir + "/cluster.key"; }
    [[nodiscard]] std::string admin_socket() const { return data_dir + "/admin.sock"; }
};

/// Where a value came from; the later one wins.
enum class Origin : std::uint8_t { built_in, file, environment, flag };
[[nodiscard]] std::string_view name_of(Origin origin);

/// Facts of the machine that some defaults are made of.
struct Machine {
    bool root = false;
    std::string host_name;
    std::string home;           // $HOME
    std::string xdg_data_home;  // $XDG_DATA_HOME
    std::string working_dir;    // what relative paths are relative to; "" leaves them so
};

/// The whole path of what was typed, without "./" before it and slashes behind it; ".." stays as it is.
[[nodiscard]] std::string absolute(std::string_view path, std::string_view working_dir);

/// Everything a configuration is made from; reading the file is the caller's work.
struct Sources {
    std::string file_name;                 // for messages; "" when there is no file
    std::optional<std::string> file_text;  // TOML
    std::vector<std::pair<std::string, std::string>> environment;  // others than FASTREG_* are skipped
    std::vector<std::pair<std::string, std::string>> flags;  // {TOML path, text}, in order typed
    Machine machine;
};

struct Loaded {
    Config config;
    std::map<std::string, Origin, std::less<>> origins;  // by TOML path, every key
};

/// Built-in defaults, then the file, the environment and the flags. The error lists every problem
/// found (at most 20), one a line, each with its place: "fastreg.toml:12: unknown key ...".
[[nodiscard]] Result<Loaded> load_with_origins(const Sources& sources);
[[nodiscard]] Result<Config> load(const Sources& sources);

/// After a SIGHUP: what is new, what takes effect at once, and what needs a restart.
struct Changes {
    std::vector<std::string> reloadable;     // TOML paths
    std::vector<std::string> needs_restart;  // TOML paths
};
[[nodiscard]] Changes compare(const Config& running, const Config& wanted);
/// The running configuration with the reloadable keys of the wanted one.
[[nodiscard]] Config reloaded(const Config& running, const Config& wanted);

}  // namespace fastreg::config
