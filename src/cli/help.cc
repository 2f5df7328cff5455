#include "cli/help.h"

#include <algorithm>

#include "config/keys.h"

namespace fastreg::cli {
namespace {

constexpr std::string_view kProgram =
    R"(fastreg: an OCI registry on every node, and one mesh of all of them.

Usage:
  fastreg [serve] [FLAGS]          run a node
  fastreg COMMAND [FLAGS]          ask or steer a running node

The node:
  serve                            run a node (what fastreg does without a command)
  config check [FILE]              check a configuration and show what a node would run with
  key show                         print the mesh's key, for the next node

Looking:
  status                           this node: members, store, bytes in and out, addresses
  peers [--watch]                  the members of the mesh, one a row
  blobs                            what this node holds
  blob DIGEST                      one blob: who holds it, who sent which part of it

Doing:
  join ADDR                        meet another node by its gossip address
  leave                            tell the others, leave the mesh for good, and stop
  verify [DIGEST]                  read blobs back from the disk and check every byte

Other:
  version                          print the version
  help [COMMAND]                   the same as COMMAND --help: flags and examples of one
                                   command; fastreg help serve has every configuration key

Examples:
  fastreg                                              a mesh of one on port 8080
  fastreg --data-dir /srv/fastreg --join node1:7946    join the mesh of node1
  docker pull localhost:8080/team/app:1                any node answers
  fastreg peers --watch                                watch them find each other

Exit codes: 0 done, 1 failed, 2 usage, 3 node not reachable, 4 not found, 5 partly done.
)";

constexpr std::string_view kClientFlags =
    R"(  --data-dir DIR     the node whose data this is (its admin.sock is asked); also --storage-dir.
                     Without it: the data-dir of the configuration
  --admin ADDR:PORT  the node with this admin.listen address instead
  --config FILE      where to look for the data-dir (default /etc/fastreg/fastreg.toml)
  --json             JSON on standard output, for programs
  -h, --help         this text
)";

constexpr std::string_view kServe =
    R"(Run a node: a registry for its neighbours, and a member of the mesh.

Usage:
  fastreg [serve] [FLAGS]

Each flag is also a key of the configuration file (--http-listen is `listen` under [http]) and an
environment variable (FASTREG_HTTP_LISTEN). Flags win over the environment, the environment over the
file. `--flag value` and `--flag=value` mean the same.

When it serves it prints one line, `ready http=... gossip=... transfer=... rdma=... admin=...`, and
keeps the same in <data-dir>/ready.json. Logs go to standard error. SIGTERM finishes what is in
flight and stops; SIGHUP reads the configuration again.

Examples:
  fastreg --data-dir /srv/fastreg
  fastreg --data-dir /srv/fastreg --join 10.0.0.1:7946 --zone rack-7
  fastreg --config /etc/fastreg/fastreg.toml --log-format json
  fastreg --http-listen 127.0.0.1:0 --gossip-listen 127.0.0.1:0 --transfer-listen 127.0.0.1:0

Flags:
  --config FILE
      The TOML file to read. Default: /etc/fastreg/fastreg.toml if it exists. Also $FASTREG_CONFIG.
)";

constexpr std::string_view kStatus =
    R"(Show this node: its identity, the members it sees, its store, the bytes in and out by source and
transport, the addresses it listens on, and what it warns about.

Usage:
  fastreg status [FLAGS]

Examples:
  fastreg status
  fastreg status --admin 10.0.0.1:9090
  fastreg status --json | jq .members.alive

Flags:
)";

constexpr std::string_view kPeers =
    R"(Show the members of the mesh as this node sees them, one a row: name (* is this node), id, state,
zone, address, round trip, transport in use, bytes from and to it, and since when it is in that state.

Usage:
  fastreg peers [--watch [--times N]] [FLAGS]

Examples:
  fastreg peers
  fastreg peers --watch
  fastreg peers --json | jq -r '.[] | select(.state != "alive") | .name'

Flags:
  -w, --watch        redraw once a second until Ctrl-C; with --json one document a line
  --times N          with --watch: stop after N
)";

constexpr std::string_view kBlobs =
    R"(List what this node holds, by digest: size, whether it is complete, and whether this copy counts as
one of the replicas (home) or may go any time (cache).

Usage:
  fastreg blobs [--limit N] [FLAGS]

Examples:
  fastreg blobs
  fastreg blobs --limit 20
  fastreg blobs --json | jq '[.[].size] | add'

Flags:
  --limit N          so many at most
)";

constexpr std::string_view kBlob =
    R"(Show one blob: its size and chunks, who in the mesh holds it, and from whom its bytes came to this
node.

Usage:
  fastreg blob DIGEST [FLAGS]

Examples:
  fastreg blob sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  fastreg blob sha256:e3b0... --json | jq .sources

Exit code 4: neither this node nor, as far as it knows, any other holds it.

Flags:
)";

constexpr std::string_view kJoin =
    R"(Meet the mesh of another node. ADDR is its gossip address; one member is enough, the others become
known through it. A node remembers its peers: this is needed once.

Usage:
  fastreg join HOST:PORT [FLAGS]

Examples:
  fastreg join 10.0.0.1:7946
  fastreg join node1.example.org:7946 --data-dir /srv/fastreg

Both need the same cluster name and the same key (`fastreg key show` on the other node).

Flags:
)";

constexpr std::string_view kLeave =
    R"(Leave the mesh for good: tell the others, and stop. What only this node has leaves with it: pull or push
it elsewhere first (`fastreg blobs` shows what is here, `fastreg blob DIGEST` who else has it). To restart a
node, stop it (SIGTERM) instead: that moves no data.

Usage:
  fastreg leave [--no-wait] [FLAGS]

Examples:
  fastreg leave
  fastreg leave --data-dir /srv/fastreg --no-wait

Flags:
  --no-wait          do not wait until it has stopped
)";

constexpr std::string_view kVerify =
    R"(Read blobs back from the disk and check every byte against the digest. A damaged blob is withdrawn
at once and fetched anew from another member if one has it.

Usage:
  fastreg verify [DIGEST] [--no-wait] [FLAGS]

Examples:
  fastreg verify
  fastreg verify sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  fastreg verify --json | jq .bad

Exit code 5: damage was found; it is listed.

Flags:
  --no-wait          do not wait for the result; `fastreg status` goes on meanwhile
)";

constexpr std::string_view kKeyShow =
    R"(Print the key of this node's mesh. The next node needs the same one, in its <data-dir>/cluster.key
(mode 0600) or wherever its cluster-key-file says. Whoever has the key can join the mesh.

Usage:
  fastreg key show [FLAGS]

Examples:
  fastreg key show
  fastreg key show | ssh node2 'umask 077; mkdir -p /var/lib/fastreg; cat > /var/lib/fastreg/cluster.key'

Only the unix socket and the file give the key; --admin does not.

Flags:
)";

constexpr std::string_view kConfigCheck =
    R"(Check a configuration and show what a node would run with, and where each value came from. Takes
every flag of serve, so that a whole command line can be checked.

Usage:
  fastreg config check [FILE] [FLAGS]

Examples:
  fastreg config check
  fastreg config check ./fastreg.toml
  fastreg config check --config ./fastreg.toml --http-listen :5000
  fastreg config check --default > /etc/fastreg/fastreg.toml

Exit code 1: something is wrong; every problem is told with its line.

Flags:
  --default          print the default configuration file, every key with its meaning
  --json             JSON on standard output, for programs
  -h, --help         this text
)";

constexpr std::string_view kVersion =
    R"(Print the version.

Usage:
  fastreg version [--json]
)";

std::string_view text_of(Command command) {
    switch (command) {
        case Command::serve: return kServe;
        case Command::status: return kStatus;
        case Command::peers: return kPeers;
        case Command::blobs: return kBlobs;
        case Command::blob: return kBlob;
        case Command::join: return kJoin;
        case Command::leave: return kLeave;
        case Command::verify: return kVerify;
        case Command::key_show: return kKeyShow;
        case Command::config_check: return kConfigCheck;
        case Command::version: return kVersion;
    }
    return kServe;
}

std::string serve_flags(std::size_t width) {
    constexpr std::size_t kIndent = 6;
    std::string out;
    for (const config::Key& key : config::keys()) {
        out += "  " + config::flag_of(key);
        if (!key.placeholder.empty()) out += " " + std::string(key.placeholder);
        if (!key.alias.empty()) out += "   (also --" + std::string(key.alias) + ")";
        if (key.type == config::Type::endpoints) out += "   (may be repeated)";
        std::string text(key.help);
        if (!key.default_text.empty()) text += " Default: " + std::string(key.default_text) + ".";
        out += "\n" + std::string(kIndent, ' ') + wrapped(text, kIndent, width) + "\n";
    }
    return out + "  -h, --help\n      This text.\n";
}

}  // namespace

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
    std::string out;
    std::size_t column = indent;
    bool line_start = true;
    while (!text.empty()) {
        const auto blank = text.find(' ');
        const auto word = text.substr(0, blank);
        text = blank == std::string_view::npos ? std::string_view{} : text.substr(blank + 1);
        if (!line_start && column + 1 + word.size() > width) {
            out += "\n" + std::string(indent, ' ');
            column = indent;
            line_start = true;
        }
        if (!line_start) {
            out += ' ';
            ++column;
        }
        out += word;
        column += word.size();
        line_start = false;
    }
    return out;
}

std::string program_help() { return std::string(kProgram); }

std::string command_help(Command command, int width) {
    std::string out(text_of(command));
    const bool client = command != Command::serve && command != Command::config_check &&
                        command != Command::version;
    if (client) out += kClientFlags;
    if (command == Command::serve) {
        out += serve_flags(static_cast<std::size_t>(std::clamp(width, 40, 100)));
    }
    return out;
}

}  // namespace fastreg::cli
