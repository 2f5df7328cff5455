// The registry's questions, answered: every route of the distribution API as steps over rows, blobs and
// copies. Knows no socket: node/http_front.cc carries requests in and answers out. Loop thread only.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/hash.h"
#include "base/recent.h"
#include "node/core.h"
#include "registry/annotations.h"
#include "registry/answers.h"
#include "registry/route.h"
#include "registry/uploads.h"

namespace fastreg::node {

struct ServiceOptions {
    bool remote_writes = false;
    bool deletes = false;
    Duration push_timeout = 30s;
    std::uint64_t manifest_bytes = 4ULL << 20U;
    std::uint32_t tags_page = 100;
    std::uint32_t tags_page_max = 1000;
    registry::UploadLimits uploads;
    Mac upload_key{};  // the mesh's: ids made by one node are understood by all
};

/// What is known of who asks.
struct Client {
    bool loopback = false;
    bool forwarded = false;  // a Forwarded, X-Forwarded-For or Via field was there
    bool proxied = false;    // another node of this mesh passes the request on, and proved it
    std::string address = {};  // as the log says it
};

/// Who asked for a change, and when; for the log.
struct Asker {
    std::string client;
    Instant since;
};

struct ServiceAnswer;
using OnAnswer = std::function<void(ServiceAnswer)>;

/// Send `plan`; its bytes are in `file`, or arrive: then open a stream of `digest`.
struct BlobAnswer {
    registry::BlobPlan plan;
    Digest digest;
    std::uint64_t size = 0;
    std::shared_ptr<store::File> file;  // nullptr: Downloads::open_stream
};
/// Read the whole body (at most `max` bytes, else 413), then go on.
struct WholeBody {
    std::uint64_t max = 0;
    std::function<void(Bytes, OnAnswer)> then;
};
/// Read the body into `upload` block by block, then call `end` once; before the body's own end when a
/// write was refused, or when there are more than `most` bytes.
struct UploadBody {
    std::shared_ptr<store::UploadFile> upload;
    std::uint64_t most = 0;
    std::function<void(std::uint64_t bytes, Status, OnAnswer)> end;  // an error: the body broke off
};
/// Pass the request on to the node that owns the upload.
struct ProxyTo {
    NodeId owner;
    Endpoint http;
};
struct ServiceAnswer {
    std::variant<registry::Answer, BlobAnswer, WholeBody, UploadBody, ProxyTo> what;
};

class Service {
  public:
    Service(Core& core, ServiceOptions options);

    /// `answer` is called exactly once, later or inside the call.
    void handle(registry::Route route, const Client& client, OnAnswer answer);
    /// 503 on /readyz and no new pushes from now on.
    void set_draining(std::string why) { draining_ = std::move(why); }
    /// Pushes and deletes that were taken and are not answered yet.
    [[nodiscard]] std::size_t changes_in_hand() const { return changes_in_hand_->load(); }
    void set_limits(const ServiceOptions& options);  // SIGHUP: gates, time-outs, pages

    /// Forgets idle uploads.
    void on_deadline();
    [[nodiscard]] Instant next_deadline() const { return uploads_.next_deadline(); }

  private:
    using Name = registry::Name;

    // service_manifests.cc
    void get_manifest(registry::GetManifest ask, OnAnswer answer);
    void send_manifest(const Name& name, const Digest& digest, bool head, const std::string& if_none_match,
                       OnAnswer answer);
    void send_manifest_of(const repo::Row& row, const Digest& digest, bool head, const std::string& if_none_match,
                          const OnAnswer& answer);
    /// `heal`: one that is found bad here is fetched from a peer, once.
    void manifest_bytes(const Digest& digest, std::uint64_t size, bool heal,
                        std::function<void(Result<std::shared_ptr<const std::string>>)> done);
    void delete_manifest(const registry::DeleteManifest& ask, const Asker& asker, OnAnswer answer);
    /// Page by page, from the row after `after` on.
    void delete_tags_of(const std::string& repository, const Digest& digest, std::string after,
                        std::function<void(Status)> done);

    // service_blobs.cc
    void get_blob(registry::GetBlob ask, OnAnswer answer);
    /// From the file when it is here and whole, else as it arrives.
    void send_blob(registry::BlobPlan plan, const Digest& digest, std::uint64_t size, OnAnswer answer);
    void delete_blob(const registry::DeleteBlob& ask, const Asker& asker, OnAnswer answer);

    // service_uploads.cc
    void start_upload(registry::StartUpload ask, const Asker& asker, OnAnswer answer);
    void open_upload(const registry::StartUpload& ask, const Asker& asker, OnAnswer answer);
    void patch_upload(registry::PatchUpload ask, OnAnswer answer);
    /// `resumable`: the client knows the session and may go on with it when the body breaks off.
    void put_upload(registry::PutUpload ask, bool resumable, const Asker& asker, OnAnswer answer);
    /// Takes the body of a session that is being written, unless it is known not to fit.
    void take_body(const registry::UploadId& id, std::optional<std::uint64_t> length, UploadBody body,
                   OnAnswer answer);
    void commit_upload(const Name& name, const registry::UploadId& id, const Digest& digest, const Asker& asker,
                       OnAnswer answer);
    void finish_push(const Name& name, const Digest& digest, std::uint64_t size, const Asker& asker,
                     OnAnswer answer);
    void log_deleted(std::string_view event, const std::string& repository, const std::string& what,
                     const Asker& asker);
    void upload_status(const registry::UploadStatus& ask, OnAnswer answer);
    void cancel_upload(const registry::CancelUpload& ask, OnAnswer answer);
    /// The session's id when this node owns it; else `answer` was given (404, or ProxyTo).
    std::optional<registry::UploadId> own_upload(const Name& name, const std::string& text,
                                                 const OnAnswer& answer);
    void drop_upload(const registry::UploadId& id);

    // service_lists.cc
    void list_tags(registry::ListTags ask, OnAnswer answer);
    void referrers(registry::Referrers ask, OnAnswer answer);
    void catalog(const registry::Catalog& ask, OnAnswer answer);
    /// Page by page, from the row after `after` on.
    void add_referrers(std::shared_ptr<const registry::Referrers> ask, std::vector<registry::Referrer> found,
                       std::string after, OnAnswer answer);

    Core& core_;
    ServiceOptions options_;
    [[nodiscard]] OnAnswer counted(OnAnswer answer);

    std::string draining_;
    /// Ended by whoever lets go of the answer last, which may be an io thread.
    std::shared_ptr<std::atomic<std::size_t>> changes_in_hand_ = std::make_shared<std::atomic<std::size_t>>(0);
    registry::Uploads uploads_;
    struct OpenUpload {
        std::shared_ptr<store::UploadFile> file;
        Instant since;
    };
    std::map<registry::UploadId, OpenUpload> upload_files_;
    std::set<registry::UploadId> writing_;  // with a body in hand

    Recent<Digest, std::shared_ptr<const std::string>> manifests_{8U << 20U};  // bytes
};

}  // namespace fastreg::node
