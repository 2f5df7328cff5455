#include "cli/help.h"

#include <algorithm>

#include "config/keys.h"

namespace fastreg::cli {
namespace {

constexpr std::string_view kProgram =
    R"(fastreg: an OCI registry on every node, and one mesh of all of them.

Usage:
  fastreg [serve] [FLAGS]  run a node
  fastreg COMMAND [FLAGS]  ask or steer a running node

The node:
  serve                    run a node (what fastreg does without a command)
  config check [FILE]      check a configuration, show what would be run with
  key show                 print the mesh's key, which the next node needs

Looking:
  status                   this node: members, store, bytes in and out, warnings
  peers [--watch]          the members of the mesh, one a row
  blobs                    what this node holds
  blob DIGEST              one blob: who holds it, who sent which part of it

Doing:
  join ADDR                meet another node, by its gossip address HOST:PORT
  leave                    hand off what this node keeps, leave for good, stop
  drain                    the same, however long handing off takes
  verify [DIGEST]          read blobs back from the disk and check every byte
  pin DIGEST               keep a blob on this node, whatever else needs room
  unpin DIGEST             let it go again when room is needed

This machine:
  doctor                   check ports, disk, limits, clocks, RDMA, clients
  bench PEER               measure chunks between this node and another

Other:
  version                  print the version
  help [COMMAND]           flags and examples of a command, as COMMAND --help;
                           `fastreg help serve` has every configuration key

Examples:
  fastreg                                            a mesh of one, on port 8080
  fastreg --data-dir /srv/fastreg --join node1:7946  join the mesh of node1
  docker pull localhost:8080/team/app:1              any node answers
  fastreg peers --watch                              watch them find each other

Exit codes: 0 done, 1 failed, 2 usage, 3 node not reachable, 4 not found,
5 partly done, or done with warnings.
)";

constexpr std::string_view kClientFlags =
    R"(  --data-dir DIR     ask the node whose data this is, over DIR/admin.sock; also
                     --storage-dir. Default: the data-dir of the configuration
  --admin ADDR:PORT  ask the node that has this address as its admin.listen
  --config FILE      the configuration to take the data-dir from. Default:
                     /etc/fastreg/fastreg.toml if it exists
  --json             JSON on standard output, for programs
  -h, --help         this text
)";

constexpr std::string_view kServe =
    R"(Run a node: a registry for the clients around it, and a member of the mesh.

Usage:
  fastreg [serve] [FLAGS]

Each flag is also a key of the configuration file and an environment variable:
--http-listen is `listen` under [http] and FASTREG_HTTP_LISTEN. Flags win over
the environment, the environment over the file. `--flag value` and
`--flag=value` mean the same. `fastreg config check` shows what came from where.

When the node serves it prints one line on standard output,
`ready http=... gossip=... transfer=... rdma=... admin=...`, with the addresses
it has, and keeps the same in <data-dir>/ready.json. Logs go to standard error.
SIGTERM finishes what is in flight and stops; SIGHUP reads the configuration
again.

Examples:
  fastreg --data-dir /srv/fastreg
  fastreg --data-dir /srv/fastreg --join 10.0.0.1:7946 --zone rack-7
  fastreg --config /etc/fastreg/fastreg.toml --log-format json
  fastreg --data-dir ./lab --http-listen 127.0.0.1:5000

Flags:
  --config FILE
      The TOML file to read; also $FASTREG_CONFIG.
      Default: /etc/fastreg/fastreg.toml if it exists.
)";

constexpr std::string_view kStatus =
    R"(Show this node: its identity, the members it sees, its store, the bytes in and
out by source and transport, its addresses, and what it warns about.

Usage:
  fastreg status [FLAGS]

Examples:
  fastreg status
  fastreg status --admin 10.0.0.1:9090
  fastreg status --json | jq .members.alive

Flags:
)";

constexpr std::string_view kPeers =
    R"(Show the members of the mesh as this node sees them, one a row: name (* is this
node), id, state, zone, gossip address, round trip, transport in use, bytes from
it and to it, and for how long it has been in that state. Columns that do not
fit the terminal are left out; --json has all.

Usage:
  fastreg peers [--watch [--times N]] [FLAGS]

Examples:
  fastreg peers
  fastreg peers --watch
  fastreg peers --json | jq -r '.[] | select(.state != "alive") | .name'

Flags:
  -w, --watch        draw anew each second until Ctrl-C; with --json one
                     document a line
  --times N          with --watch: stop after N times, 1 or more
)";

constexpr std::string_view kBlobs =
    R"(List what this node holds, by digest: size, how much of it is here, and whether
this copy counts as one of the replicas (home) or may go any time (cache).
Digests are cut to fit the terminal; --json has them whole.

Usage:
  fastreg blobs [--limit N] [FLAGS]

Examples:
  fastreg blobs
  fastreg blobs --limit 20
  fastreg blobs --json | jq '[.[].size] | add'

Flags:
  --limit N          stop after N blobs, 1 or more
)";

constexpr std::string_view kBlob =
    R"(Show one blob: its size and chunks, who in the mesh holds it, and from whom its
bytes came to this node ("client": it was pushed here; what came before the last
start is not known). A line of # (here), + (in part) and . (missing) shows the
chunks of a blob that is here in part. DIGEST is a whole digest, sha256: and 64
hexadecimal digits, as `fastreg blobs --json` lists them.

Usage:
  fastreg blob DIGEST [FLAGS]

Examples:
  fastreg blob $DIGEST
  fastreg blob $DIGEST --json | jq .sources

Exit code 4: neither this node nor any other that it knows of holds the blob.

Flags:
)";

constexpr std::string_view kJoin =
    R"(Meet the mesh of another node. ADDR is the gossip address of that node,
HOST:PORT; the port is 7946 unless it was set otherwise. One member is enough:
the others become known through it. A node remembers its peers, so this is
needed once.

Usage:
  fastreg join ADDR [FLAGS]

Examples:
  fastreg join 10.0.0.1:7946
  fastreg join node1.example.org:7946 --data-dir /srv/fastreg

Both nodes need the same cluster name and the same key (`fastreg key show`
there).

Flags:
)";

constexpr std::string_view kLeave =
    R"(Leave the mesh for good. First the node hands off what it keeps for the mesh:
each blob to as many others as there are copies wanted, and its rows to their
other owners; it is read from meanwhile, and takes no pushes. Then it tells the
others, and stops. What could not be handed off in time is counted, and stays on
its disk. Stopped in the middle, it goes on with it at the next `leave`. To
restart a node, stop it with SIGTERM instead: it is expected back.

Usage:
  fastreg leave [--timeout TIME] [--no-wait] [FLAGS]

Examples:
  fastreg leave
  fastreg leave --timeout 1h
  fastreg leave --data-dir /srv/fastreg --no-wait

Exit code 5: it left, and not everything was handed off.

Flags:
  --timeout TIME     leave after this, whatever is not handed off. Default: 10m
  --no-wait          do not wait until the node has stopped
)";

constexpr std::string_view kDrain =
    R"(Hand off what this node keeps for the mesh, however long that takes, and leave
for good when all of it is elsewhere. As `fastreg leave` without an end to its
patience: a node that cannot hand off stays a member, and `handoff` of
`fastreg status --json` tells what is waited for. A restart ends the draining.

Usage:
  fastreg drain [--no-wait] [FLAGS]

Examples:
  fastreg drain
  fastreg drain --no-wait; fastreg status

Exit code 1: no other member is known, so nobody could take anything.

Flags:
  --no-wait          do not wait until the node has stopped
)";

constexpr std::string_view kVerify =
    R"(Read blobs back from the disk and check every byte against the digest; without
DIGEST, all blobs of this node. A damaged blob is withdrawn at once, and fetched
anew if this node is a home of it and another member has it.

Usage:
  fastreg verify [DIGEST] [--no-wait] [FLAGS]

Examples:
  fastreg verify
  fastreg verify $DIGEST
  fastreg verify --json | jq .bad

Exit code 5: damage was found; it is listed.

Flags:
  --no-wait          do not wait for the result; the log tells of damage
)";

constexpr std::string_view kPin =
    R"(Keep a blob that is here on this node: it makes no room for others, however
long nobody asks for it. A manifest is pinned without its layers; pin those,
too. Copies that count as replicas stay without a pin.

Usage:
  fastreg pin DIGEST [FLAGS]

Examples:
  fastreg pin $DIGEST
  fastreg blobs --json | jq '.[] | select(.pinned)'

Exit code 4: this node does not have the blob.

Flags:
)";

constexpr std::string_view kUnpin =
    R"(Take a pin back: the blob may make room for others again, unless it counts as a
replica.

Usage:
  fastreg unpin DIGEST [FLAGS]

Examples:
  fastreg unpin $DIGEST

Exit code 4: this node does not have the blob.

Flags:
)";

constexpr std::string_view kKeyShow =
    R"(Print the key of this node's mesh. The next node needs the same one, in its
<data-dir>/cluster.key (mode 0600) or where its cluster-key-file says. Whoever
has the key can join the mesh. Works on a stopped node too, from its file.

Usage:
  fastreg key show [FLAGS]

Examples:
  fastreg key show
  fastreg key show | ssh node2 '
      umask 077; mkdir -p /var/lib/fastreg; cat > /var/lib/fastreg/cluster.key'

Only the unix socket and the file give the key; --admin does not.

Flags:
)";

constexpr std::string_view kConfigCheck =
    R"(Check a configuration: tell every problem with its line, or show what a node
would run with, and where each value came from. Takes every flag of serve, so
that a whole command line can be checked; FILE is the same as --config FILE.

Usage:
  fastreg config check [FILE] [FLAGS]

Examples:
  fastreg config check
  fastreg config check ./fastreg.toml
  fastreg config check --config ./fastreg.toml --http-listen :5000
  fastreg config check --default > fastreg.toml

Exit code 1: something is wrong.

Flags:
  --default          print the default configuration file, every key with its
                     meaning; not with --json, since it is TOML
  --json             JSON on standard output, for programs
  -h, --help         this text
)";

constexpr std::string_view kDoctor =
    R"(Check this machine, before the first start or when something is wrong: the
configuration, data directory and free space, cluster key, ports, addresses,
descriptors, clocks; for RDMA modules, device files, devices, MTU, locked memory
and a real connection to itself through each active device; and whether Docker,
containerd and podman know the node. One line a check:

  ok|warn|fail  what - what was seen - what to do

Takes every flag of serve, so that a whole command line can be checked. Nothing
is changed. The limits are those of this shell: a service has its own, so run it
as the user, and with the limits, of the service.

Usage:
  fastreg doctor [FLAGS]

Examples:
  fastreg doctor
  fastreg doctor --rdma-enabled --data-dir /srv/fastreg
  fastreg doctor --json | jq '.checks[] | select(.verdict != "ok")'

Exit code 0: all is well; 1: something failed; 5: warnings only.

Flags:
  --json             JSON on standard output, for programs
  -h, --help         this text
)";

constexpr std::string_view kBench =
    R"(Measure chunks between this node and another member, by TCP and by RDMA: MiB/s
by chunk size and number of requests open at once (depth), latency from asking
for a chunk to its last byte in memory, and CPU seconds per GiB at both ends.
PEER is a member's name or the beginning of its id. The bytes come from the
peer's memory, each one is compared here, and nothing reaches a disk.

Usage:
  fastreg bench [--transport LIST] [--size LIST] [--depth LIST] [--seconds S]
                PEER [FLAGS]

Examples:
  fastreg bench node2
  fastreg bench --transport tcp,rdma --size 64KiB,4MiB --depth 1,8 node2
  fastreg bench --json 3f2a91c0 | jq '.rows[] | [.chunk_bytes, .depth, .ratio]'

Run it on idle nodes: the CPU time is that of the whole process, and without
what the kernel does in interrupts. Software RDMA (rxe, siw) proves correctness,
not speed.

Exit code 5: some of it was measured, and the rest says why not.

Flags:
  --transport LIST   tcp, rdma or tcp,rdma. Default: those that both ends have
  --size LIST        chunk sizes, powers of two from 64KiB to 4MiB. Default:
                     64KiB,256KiB,1MiB,4MiB
  --depth LIST       requests open at once, 1 to 32. Default: 1,4,8
  --seconds S        of each measurement, up to 10. Default: 1
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
        case Command::drain: return kDrain;
        case Command::verify: return kVerify;
        case Command::pin: return kPin;
        case Command::unpin: return kUnpin;
        case Command::key_show: return kKeyShow;
        case Command::config_check: return kConfigCheck;
        case Command::doctor: return kDoctor;
        case Command::bench: return kBench;
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
    const bool client = command != Command::serve && command != Command::config_check && command != Command::doctor &&
                        command != Command::version;
    if (client) out += kClientFlags;
    if (command == Command::serve) {
        out += serve_flags(static_cast<std::size_t>(std::clamp(width, 40, 100)));
    }
    return out;
}

}  // namespace fastreg::cli
