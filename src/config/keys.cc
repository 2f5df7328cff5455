#include "config/keys.h"

#include <algorithm>
#include <array>

namespace fastreg::config {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr std::uint64_t kTiB = 1024 * kGiB;
constexpr std::uint64_t kSecond = 1000;  // limits of durations are in ms
constexpr std::uint64_t kHour = 3600 * kSecond;
constexpr bool kReload = true;
constexpr bool kRestart = false;

#define FR_AT(member) [](Config& c) -> auto& { return c.member; }

// min and max: of a count, of a size in bytes, of a duration in ms, of a text in characters; an
// endpoint or address with min 0 may be left empty; an address with min 1 is listened on.
const std::array kKeys{
    Key{"data-dir", Type::path, "DIR", "", 0, 4096, kRestart,
        "Everything the node keeps: blobs, its index, its identity, the cluster key. Empty: "
        "/var/lib/fastreg for root, else $XDG_DATA_HOME/fastreg (~/.local/share/fastreg).",
        FR_AT(data_dir), "storage-dir"},
    Key{"name", Type::text, "NAME", "", 0, 64, kRestart,
        "The label of this node in lists. Empty: the host name.", FR_AT(name)},
    Key{"zone", Type::text, "NAME", "", 0, 31, kRestart,
        "Where this node stands (rack, room, site): peers of the same zone are asked first. Empty: "
        "nowhere in particular.",
        FR_AT(zone)},
    Key{"cluster", Type::text, "NAME", "default", 1, 64, kRestart,
        "The mesh this node belongs to; meshes of different names never merge.", FR_AT(cluster)},
    Key{"cluster-key-file", Type::path, "FILE", "", 0, 4096, kRestart,
        "The shared secret of the mesh, at least 16 bytes. Empty: <data-dir>/cluster.key, made on "
        "the first start of a node without seeds; another path must have a key.",
        FR_AT(cluster_key_file)},
    Key{"insecure-mesh", Type::boolean, "", "false", 0, 0, kRestart,
        "Nodes do not prove the key to each other. For labs.", FR_AT(insecure_mesh)},
    Key{"join", Type::endpoints, "HOST:PORT", "", 0, 256, kReload,
        "Seeds: gossip addresses of members, or a DNS name of several. None: a mesh of one.",
        FR_AT(join)},
    Key{"advertise-addr", Type::address, "ADDR", "", 0, 0, kRestart,
        "The address that peers dial. Empty: the address of the default route's interface.",
        FR_AT(advertise_addr)},
    Key{"replicas", Type::count, "N", "2", 1, 16, kRestart,
        "Copies of a push, on as many nodes, before it is acknowledged.", FR_AT(replicas)},
    Key{"remote-writes", Type::gate, "allow|deny", "deny", 0, 0, kRestart,
        "Whether pushes are taken from other machines. This listener knows neither TLS nor users: "
        "allow it only where everyone who reaches it may push.",
        FR_AT(remote_writes)},
    Key{"deletes", Type::gate, "allow|deny", "deny", 0, 0, kRestart,
        "Whether tags, manifests and blobs may be deleted over HTTP.", FR_AT(deletes)},
    Key{"push-timeout", Type::duration, "TIME", "30s", 1 * kSecond, 1 * kHour, kRestart,
        "How long the push of a manifest waits for its copies before it answers 503.",
        FR_AT(push_timeout)},
    Key{"stop-timeout", Type::duration, "TIME", "30s", 0, 1 * kHour, kRestart,
        "How long after SIGTERM the requests in flight may go on. 0s: not at all.",
        FR_AT(stop_timeout)},
    Key{"io-threads", Type::count, "N", "0", 0, 64, kRestart,
        "Threads that move bytes of HTTP and chunks. 0: the cores, between 1 and 4.",
        FR_AT(io_threads)},
    Key{"disk-threads", Type::count, "N", "0", 0, 64, kRestart,
        "Threads that read, write and hash files. 0: the cores, between 2 and 4.",
        FR_AT(disk_threads)},
    Key{"recv-pool", Type::size, "SIZE", "48MiB", 4 * kMiB, 64 * kGiB, kRestart,
        "Memory in which arriving chunks land; when it is full, nothing more is asked for.",
        FR_AT(recv_pool)},

    Key{"http.listen", Type::endpoint, "ADDR:PORT", "[::]:8080", 1, 0, kRestart,
        "The registry: what docker, containerd and podman talk to. [::] takes IPv4 too.",
        FR_AT(http.listen)},
    Key{"gossip.listen", Type::endpoint, "ADDR:PORT", "[::]:7946", 1, 0, kRestart,
        "Membership and directory, between nodes.", FR_AT(gossip.listen)},
    Key{"transfer.listen", Type::endpoint, "ADDR:PORT", "[::]:7947", 1, 0, kRestart,
        "Chunks of blobs, between nodes.", FR_AT(transfer.listen)},
    Key{"transfer.advertise-addr", Type::address, "ADDR", "", 0, 0, kRestart,
        "The address that peers dial for chunks, where the data network is another one. Empty: "
        "the same as advertise-addr.",
        FR_AT(transfer.advertise_addr)},

    Key{"rdma.enabled", Type::boolean, "", "false", 0, 0, kRestart,
        "Chunks go by RDMA between nodes that both have it, and by TCP otherwise.", FR_AT(rdma.enabled)},
    Key{"rdma.listen-addr", Type::address, "ADDR", "0.0.0.0", 1, 0, kRestart,
        "Where RDMA connections are taken; 0.0.0.0 takes them on every device.", FR_AT(rdma.listen_addr)},
    Key{"rdma.listen-port", Type::count, "PORT", "9999", 0, 65'535, kRestart,
        "The port of RDMA connections; on iWARP it is a TCP port as well. 0: any free one.",
        FR_AT(rdma.listen_port)},
    Key{"rdma.advertise-addr", Type::address, "ADDR", "", 0, 0, kRestart,
        "The address that peers connect to for RDMA. Empty: rdma.listen-addr, or the address of the "
        "first active device.",
        FR_AT(rdma.advertise_addr)},
    Key{"rdma.landing-slots", Type::count, "N", "128", 16, 16'384, kRestart,
        "Slots of 4MiB that peers write chunks into, pinned in memory; fewer where memlock allows fewer.",
        FR_AT(rdma.landing_slots)},
    Key{"rdma.source-slots", Type::count, "N", "64", 8, 16'384, kRestart,
        "Slots of 4MiB that chunks are sent from, pinned in memory; each is read once for all who ask.",
        FR_AT(rdma.source_slots)},
    Key{"rdma.slots-per-peer", Type::count, "N", "8", 1, 128, kRestart,
        "The most landing slots granted to one peer at once.", FR_AT(rdma.slots_per_peer)},
    Key{"rdma.depth", Type::count, "N", "16", 1, 128, kRestart,
        "The most chunk requests open on one RDMA connection; the smaller of both ends counts.",
        FR_AT(rdma.depth)},
    Key{"rdma.segment", Type::size, "SIZE", "1MiB", 64 * kKiB, 1 * kMiB, kRestart,
        "The most bytes of one RDMA Write.", FR_AT(rdma.segment)},
    Key{"rdma.ack-timeout", Type::count, "N", "14", 8, 31, kRestart,
        "How long a packet may stay unacknowledged: 4.096 us times 2 to the N, tried 8 times. 14 suits "
        "hardware, 18 emulation.",
        FR_AT(rdma.ack_timeout)},
    Key{"rdma.tos", Type::count, "N", "0", 0, 255, kRestart,
        "The type of service of RDMA connections, by which switches choose a lossless class. 0: the "
        "system's.",
        FR_AT(rdma.tos)},

    Key{"store.max-bytes", Type::share, "SIZE", "80%", 1 * kMiB, 0, kRestart,
        "What the blobs may take: a size, or a percentage of the file system. Cached copies that "
        "nobody uses make room for what comes; when only homes, pushes and pins are left it is refused.",
        FR_AT(store.max_bytes)},
    Key{"store.min-free", Type::share, "SIZE", "5%", 0, 0, kRestart,
        "What stays free on the file system: a size, or a percentage that never means less than "
        "1GiB. 0: nothing. Of max-bytes and min-free the smaller room counts.",
        FR_AT(store.min_free)},
    Key{"store.high-watermark", Type::count, "PERCENT", "95", 1, 100, kRestart,
        "Of the room by max-bytes and min-free: when more is used, cached copies go, the least recently used "
        "first.",
        FR_AT(store.high_watermark)},
    Key{"store.low-watermark", Type::count, "PERCENT", "90", 1, 100, kRestart,
        "Down to which share of the room cached copies go, so that not each new blob makes some go.",
        FR_AT(store.low_watermark)},
    Key{"store.backup-every", Type::duration, "TIME", "10m", 1 * kSecond, 24 * kHour, kRestart,
        "How often meta.db is copied to meta.db.bak, if it has changed. The copy takes over at the "
        "next start when meta.db is damaged.",
        FR_AT(store.backup_every)},

    Key{"admin.listen", Type::endpoint, "ADDR:PORT", "", 0, 0, kRestart,
        "Metrics and status over TCP, for whoever reaches it. Empty: only the unix socket "
        "<data-dir>/admin.sock, which is always there.",
        FR_AT(admin.listen)},

    Key{"log.level", Type::log_level, "LEVEL", "info", 0, 0, kReload,
        "The least important lines to write: trace, debug, info, warn, error or off.",
        FR_AT(log.level)},
    Key{"log.format", Type::log_format, "text|json", "text", 0, 0, kRestart,
        "How a line of the log looks. Logs go to standard error.", FR_AT(log.format)},

    Key{"limits.manifest-bytes", Type::size, "SIZE", "4MiB", 64 * kKiB, 4 * kMiB, kRestart,
        "The largest manifest that may be pushed here; what is in the mesh is given whatever its size.",
        FR_AT(limits.manifest_bytes)},
    Key{"limits.blob-bytes", Type::size, "SIZE", "1TiB", 1 * kMiB, 1 * kTiB, kRestart,
        "The largest blob that may be pushed here; what is in the mesh is given whatever its size.",
        FR_AT(limits.blob_bytes)},
    Key{"limits.head-bytes", Type::size, "SIZE", "32KiB", 4 * kKiB, 1 * kMiB, kRestart,
        "The largest head (request line and headers) of an HTTP request.",
        FR_AT(limits.head_bytes)},
    Key{"limits.headers", Type::count, "N", "100", 16, 1000, kRestart,
        "The most headers of an HTTP request.", FR_AT(limits.headers)},
    Key{"limits.head-timeout", Type::duration, "TIME", "10s", 1 * kSecond, 600 * kSecond, kRestart,
        "How long the head of an HTTP request may take to arrive.", FR_AT(limits.head_timeout)},
    Key{"limits.idle-timeout", Type::duration, "TIME", "1m", 1 * kSecond, 24 * kHour, kRestart,
        "How long a connection may stay open between two requests.", FR_AT(limits.idle_timeout)},
    Key{"limits.progress-timeout", Type::duration, "TIME", "30s", 1 * kSecond, 1 * kHour, kRestart,
        "How long a body may stand still before its connection is closed.",
        FR_AT(limits.progress_timeout)},
    Key{"limits.connections", Type::count, "N", "10000", 1, 1'000'000, kRestart,
        "The most HTTP connections; fewer where the process may open few descriptors.",
        FR_AT(limits.connections)},
    Key{"limits.connections-per-address", Type::count, "N", "1024", 1, 1'000'000, kRestart,
        "The most HTTP connections of one client address.", FR_AT(limits.connections_per_address)},
    Key{"limits.uploads", Type::count, "N", "10000", 1, 1'000'000, kRestart,
        "The most upload sessions open at once.", FR_AT(limits.uploads)},
    Key{"limits.tags-page", Type::count, "N", "100", 1, 9'999, kRestart,
        "Tags, or repositories of the catalog, in one answer when the client does not say how many.",
        FR_AT(limits.tags_page)},
    Key{"limits.tags-page-max", Type::count, "N", "1000", 1, 9'999, kRestart,
        "Tags, or repositories of the catalog, in one answer however many the client asks for.",
        FR_AT(limits.tags_page_max)},
    Key{"limits.members", Type::count, "N", "65536", 3, 65'536, kRestart,
        "The most members of the mesh this node keeps in its table.", FR_AT(limits.members)},
    Key{"limits.inbound-requests-per-peer", Type::count, "N", "64", 8, 4096, kRestart,
        "The most chunk requests of one peer, waiting or being served.",
        FR_AT(limits.inbound_requests_per_peer)},
    Key{"limits.directory-entries", Type::count, "N", "2000000", 1000, 100'000'000, kRestart,
        "The most (blob, holder) entries this node keeps for the mesh.",
        FR_AT(limits.directory_entries)},
    Key{"limits.open-blobs", Type::count, "N", "1024", 16, 1'000'000, kRestart,
        "The most blob files held open.", FR_AT(limits.open_blobs)},
};

#undef FR_AT

}  // namespace

std::span<const Key> keys() { return kKeys; }

const Key* find_key(std::string_view path) {
    const auto found = std::find_if(kKeys.begin(), kKeys.end(),
                                    [&](const Key& key) { return key.path == path; });
    return found == kKeys.end() ? nullptr : &*found;
}

std::string flag_of(const Key& key) {
    std::string flag = "--" + std::string(key.path);
    std::replace(flag.begin(), flag.end(), '.', '-');
    return flag;
}

std::string environment_of(const Key& key) {
    std::string name = "FASTREG_";
    for (const char c : key.path) {
        name += (c == '.' || c == '-') ? '_' : (c >= 'a' && c <= 'z') ? static_cast<char>(c - 32) : c;
    }
    return name;
}

}  // namespace fastreg::config
