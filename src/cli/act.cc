// The commands that change something: join, leave, drain, verify, pin, unpin; and key show.
#include <cmath>
#include <ostream>

#include "base/bytes.h"
#include "base/digest.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json_view.h"
#include "cli/sources.h"
#include "cli/table.h"
#include "config/units.h"
#include "node/key_file.h"

namespace fastreg::cli {
namespace {

// One line that is written over; only where a person looks.
void progress(const Console& console, const std::string& text) {
    if (console.terminal) console.err << "\r\033[K" << text << std::flush;
}

bool names_digest(const Invocation& invocation, const Console& console) {
    if (Digest::parse(invocation.argument)) return true;
    console.complain("'" + safe(invocation.argument) +
                     "' is not a digest; write it whole, sha256: and 64 hexadecimal digits");
    return false;
}

/// Where a node that leaves is.
std::string leaving_now(const Json& left) {
    if (text_at(left, {"state"}) != "draining") return "leaving: the others are told, and what is in flight may end";
    const std::uint64_t blobs = number_at(left, {"blobs"});
    const std::uint64_t bytes = number_at(left, {"bytes"});
    const std::uint64_t shards = number_at(left, {"shards"});
    std::string text = "handed off " + grouped(blobs - number_at(left, {"blobs_left"})) + " of " +
                       counted(blobs, "blob") + ", " + human_bytes(bytes - number_at(left, {"bytes_left"})) + " of " +
                       human_bytes(bytes) + "; rows: " + grouped(shards - number_at(left, {"shards_left"})) + " of " +
                       counted(shards, "shard");
    if (const std::string waits = text_at(left, {"waits_for"}); !waits.empty()) text += "; waiting for " + waits;
    return text;
}

Exit print_left(const Invocation& invocation, const Json& left, bool gone, const Console& console) {
    const std::uint64_t blobs = number_at(left, {"blobs_left"});
    const std::uint64_t shards = number_at(left, {"shards_left"});
    const bool all = !gone || (blobs == 0 && shards == 0);
    if (invocation.json) {
        Json json = left;
        json["state"] = gone ? "left" : text_at(left, {"state"});
        console.out << pretty(json) << '\n';
    } else if (!gone) {
        console.out << "leaving; the node hands off what it keeps and stops then; see fastreg status\n";
    } else {
        const std::uint64_t bytes = number_at(left, {"bytes"}) - number_at(left, {"bytes_left"});
        console.out << "left the mesh; the node has stopped; handed off: "
                    << counted(number_at(left, {"blobs"}) - blobs, "blob") << ", " << human_bytes(bytes) << '\n';
    }
    if (all) return Exit::done;
    console.complain(counted(blobs, "blob") + " and the rows of " + counted(shards, "shard") +
                     " were not handed off; start the node again to have them back in the mesh");
    return Exit::partly;
}

Exit print_verified(const Invocation& invocation, const Json& result, const Console& console) {
    const Json& bad = at(result, {"bad"});
    const bool clean = !bad.is_array() || bad.empty();
    const bool whole = text_at(result, {"state"}) != "stopped";
    if (!whole) {
        console.complain("the node stopped after " + grouped(number_at(result, {"checked"})) + " of " +
                         counted(number_at(result, {"total"}), "blob") + "; run it again when the node is back");
    }
    if (invocation.json) {
        console.out << pretty(result) << '\n';
        return clean && whole ? Exit::done : Exit::partly;
    }
    console.out << counted(number_at(result, {"checked"}), "blob") << " read back, "
                << human_bytes(number_at(result, {"bytes"})) << ": "
                << (clean ? console.paint(whole ? "all as they should be" : "these are as they should be", Style::good)
                          : console.paint(grouped(bad.size()) + " damaged", Style::bad))
                << '\n';
    if (clean) return whole ? Exit::done : Exit::partly;
    Table table({{"DIGEST", false, 19, 0}, {"PROBLEM", false, 10, 1}, {"HEALED", false, 0, 0}});
    for (const Json& row : bad) {
        const bool healed = flag_at(row, {"healed"});
        table.add({{text_at(row, {"digest"})},
                   {text_at(row, {"problem"})},
                   {healed ? "yes" : "not yet", healed ? Style::good : Style::bad}});
    }
    table.print(console);
    return Exit::partly;
}

}  // namespace

Exit join_mesh(const Invocation& invocation, const AdminClient& node, const Console& console) {
    const auto address = Endpoint::parse(invocation.argument);
    const bool any = address && (address->host == "::" || address->host == "0.0.0.0");
    if (!address || any || address->port == 0) {
        console.complain((!address ? address.error().what
                          : any    ? "'" + safe(invocation.argument) + "' names no node"
                                   : "the port of the other node may not be 0") +
                         "; join takes the gossip address of a member, HOST:7946 unless it has another port");
        return Exit::usage;
    }
    const Answer answer = ask(node, "POST", "/v1/join", Json{{"address", address->str()}});
    if (!answer.ok()) return refuse(answer, console);
    if (invocation.json) {
        console.out << pretty(answer.json) << '\n';
        return Exit::done;
    }
    const std::uint64_t members = number_at(answer.json, {"members"});
    console.out << "joined " << address->str()
                << (members > 0 ? "; the mesh has " + counted(members, "member") : "") << '\n';
    return Exit::done;
}

Exit leave_mesh(const Invocation& invocation, const AdminClient& node, const Console& console,
                const Pace& pace) {
    const bool drain = invocation.command == Command::drain;
    Json body = Json::object();
    if (!invocation.timeout.empty()) {
        const auto span = config::parse_duration(invocation.timeout);
        if (!span) {
            console.complain("--timeout: " + span.error().what);
            return Exit::usage;
        }
        body["timeout_s"] = static_cast<std::uint64_t>(std::ceil(seconds_of(*span)));
    }
    Answer last = ask(node, "POST", drain ? "/v1/drain" : "/v1/leave", body);
    if (!last.ok()) return refuse(last, console);
    bool gone = false;
    while (invocation.wait) {
        // Any other error, silence among them, is of a node that is still there.
        gone = !node.listens();
        if (gone) break;
        if (Answer now = ask(node, "GET", "/v1/leave"); now.ok()) last = std::move(now);
        progress(console, leaving_now(last.json));
        pause_for(pace.poll);
    }
    progress(console, "");
    return print_left(invocation, last.json, gone, console);
}

Exit verify_blobs(const Invocation& invocation, const AdminClient& node, const Console& console,
                  const Pace& pace) {
    Json which = nullptr;
    if (!invocation.argument.empty()) {
        if (!names_digest(invocation, console)) return Exit::usage;
        which = invocation.argument;
    }
    Answer answer = ask(node, "POST", "/v1/verify", Json{{"digest", which}});
    if (!answer.ok()) return refuse(answer, console);
    if (!invocation.wait) {
        if (invocation.json) {
            console.out << pretty(answer.json) << '\n';
        } else {
            console.out << "verifying\n";
        }
        return Exit::done;
    }
    while (text_at(answer.json, {"state"}) == "running") {
        progress(console, "verified " + grouped(number_at(answer.json, {"checked"})) + " of " +
                              counted(number_at(answer.json, {"total"}), "blob") + ", " +
                              human_bytes(number_at(answer.json, {"bytes"})) + " of " +
                              human_bytes(number_at(answer.json, {"bytes_total"})));
        pause_for(pace.poll);
        answer = ask(node, "GET", "/v1/verify");
        if (!answer.ok()) return refuse(answer, console);
    }
    progress(console, "");
    return print_verified(invocation, answer.json, console);
}

Exit pin_blob(const Invocation& invocation, bool pinned, const AdminClient& node, const Console& console) {
    if (!names_digest(invocation, console)) return Exit::usage;
    const Answer answer = ask(node, "POST", pinned ? "/v1/pin" : "/v1/unpin", Json{{"digest", invocation.argument}});
    if (!answer.ok()) return refuse(answer, console);
    if (invocation.json) {
        console.out << pretty(answer.json) << '\n';
    } else {
        console.out << (pinned ? "pinned; it stays on this node\n"
                               : "no longer pinned; it may go when room is needed, unless it is a home\n");
    }
    return Exit::done;
}

Exit show_key(const Invocation& invocation, const AdminClient& node, const Console& console) {
    Answer answer = ask(node, "GET", "/v1/key");
    if (answer.exit == Exit::unreachable && invocation.admin.empty()) {
        // A node that does not run has its key all the same.
        const auto sources = gather(invocation);
        const auto config = sources ? config::load(*sources) : Result<config::Config>(
                                                                   tl::unexpect, sources.error());
        const auto key = config ? node::load_key(*config)
                                : Result<std::string>(tl::unexpect, config.error());
        if (!key) {
            console.complain(describe(key.error()) + "; and " + answer.complaint);
            return key.error().code == Errc::not_found ? Exit::unreachable : Exit::failed;
        }
        answer = Answer{Exit::done, "", Json{{"key", *key}, {"file", config->cluster_key_file}}};
    }
    if (!answer.ok()) return refuse(answer, console);
    if (invocation.json) {
        console.out << pretty(answer.json) << '\n';
        return Exit::done;
    }
    const std::string key = text_at(answer.json, {"key"});
    if (key.empty()) {
        console.complain("this mesh has no key: it runs with insecure-mesh");
        return Exit::not_found;
    }
    console.out << key << '\n';
    return Exit::done;
}

}  // namespace fastreg::cli
