// Asks a running node a question over its admin listener and waits for the answer. Blocking; one
// command uses one client on its own thread.
//
// The admin protocol: HTTP/1.1 over the unix socket <data-dir>/admin.sock (mode 0660) or over
// `admin.listen`, JSON bodies, one request a connection. Fields may be added, never renamed.
//
//   GET  /v1/status            200 {"node_id","name","cluster","version","state","uptime_s",
//                                   "members":{"alive","suspect","stopping","dead","left"},
//                                   "store":{"blobs","bytes","partial","limit_bytes"},
//                                   "bytes":{"in":{"peer":{"tcp","rdma"},"upstream"},
//                                            "out":{"peer":{"tcp","rdma"},"http"}},
//                                   "rdma":{"enabled","devices":[]},
//                                   "listen":{"http","gossip","transfer","rdma","admin"},
//                                   "warnings":["..."]?}
//                              state: starting, alive, stopping, leaving. An address that is not
//                              there is "". Bytes are numbers.
//   GET  /v1/peers             200 [{"node_id","name","state","zone","gossip_addr","transfer_addr",
//                                    "rdma_addr","http_addr","rtt_ms":number|null,
//                                    "transport":"tcp"|"rdma"|null,"bytes_in","bytes_out","self",
//                                    "state_since_s"?}]   state: alive, suspect, stopping, dead, left
//   GET  /v1/blobs?after=D&limit=N
//                              200 {"blobs":[{"digest","size","complete","bytes","home"?}],
//                                   "next":D|null}   ordered by digest, 1 <= N <= 1000;
//                              bytes: what is here of it; home: this copy counts as a replica
//   GET  /v1/blobs/D           200 {"digest","size","chunk_size","chunks","complete","have"?,
//                                   "holders":[{"node_id","name"?,"complete","home","chunks"}],
//                                   "sources":[{"node_id"|"upstream"|"client","name"?,"transport",
//                                               "chunks","bytes"}]}
//                              A source is {"node_id":ID}, {"node_id":"upstream"} or
//                              {"node_id":"client"} (pushed here). 404 not_found: not held, no holder.
//   POST /v1/join {"address"}  200 {"address","members"}   members known after the exchange;
//                              504 timeout, 409 other_cluster, 403 bad_key
//   POST /v1/leave             202 {"state":"leaving"}; the process ends when what is in flight has ended
//   POST /v1/verify {"digest":D|null}
//                              202 like GET; one run at a time: 409 busy
//   GET  /v1/verify            200 {"state":"idle"|"running"|"done"|"stopped","checked","total","bytes",
//                                   "bytes_total","bad":[{"digest","problem","healed"}]}
//   POST /v1/bench {"peer":NODE_ID,"transport":"tcp"|"rdma","chunk_bytes":N,"depth":N,"seconds":S}
//                              200 {"peer","transport","chunk_bytes","depth","chunks","bytes","seconds",
//                                   "bytes_per_second","p50_us","p99_us",
//                                   "cpu_s_per_gib":{"here","there"}}   when it was measured;
//                              400 a depth beyond what RDMA gives one peer: too_large;
//                              404 no such member, 409 busy or no RDMA, 502 it broke off, 504 timeout
//   GET  /v1/key               200 {"key","file"}; only over the unix socket, 403 otherwise
//   GET  /metrics              200 Prometheus text
//
// Errors are {"error":{"code","message"}} with a 4xx or 5xx status; the message is a sentence for
// people. An unknown path is 404 with the code "unknown_path".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/endpoint.h"
#include "base/instant.h"
#include "base/result.h"

namespace fastreg::cli {

/// Where the node is: a unix socket, or an address when the path is empty.
struct AdminTarget {
    std::string socket_path;
    Endpoint address;

    /// For messages: the path or the address.
    [[nodiscard]] std::string str() const;
};

struct AdminReply {
    int status = 0;
    std::string body;
    std::string date;  // as its head says it
};

/// One answer may be this long; a longer one is an error.
inline constexpr std::size_t kReplyBytesMax = std::size_t{64} << 20;

class AdminClient {
  public:
    explicit AdminClient(AdminTarget target, Duration connect_timeout = 5s,
                         Duration reply_timeout = 60s);

    /// Errc::unavailable when nobody listens there (exit code 3), timeout, protocol. Any HTTP
    /// status is an answer. `body` is JSON, or empty.
    [[nodiscard]] Result<AdminReply> ask(std::string_view method, std::string_view path,
                                         std::string_view body = {}) const;
    /// Whether somebody takes connections there; a node that does not answer in time still listens.
    [[nodiscard]] bool listens() const;
    [[nodiscard]] const AdminTarget& target() const { return target_; }

  private:
    AdminTarget target_;
    Duration connect_timeout_;
    Duration reply_timeout_;
};

}  // namespace fastreg::cli
