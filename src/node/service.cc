// The gates of the registry and the way from a route to its steps. The steps: service_manifests.cc,
// manifest_push.cc, service_blobs.cc, service_uploads.cc and service_lists.cc.
#include "node/service.h"

#include "base/log.h"
#include "node/manifest_push.h"
#include "node/service_reply.h"

namespace fastreg::node {

namespace r = registry;

Service::Service(Core& core, ServiceOptions options)
    : core_(core), options_(std::move(options)), uploads_(options_.uploads) {}

void Service::set_limits(const ServiceOptions& options) {
    options_ = options;
}

/// `answer`, counted until the last word of it was said: it may ask for the body first, and go on then.
OnAnswer Service::counted(OnAnswer answer) {
    ++*changes_in_hand_;
    const std::shared_ptr<void> ticket(nullptr, [count = changes_in_hand_](void*) { --*count; });
    return [ticket, answer = std::move(answer)](ServiceAnswer said) {
        const auto last = [ticket](OnAnswer then) {
            return [ticket, then = std::move(then)](ServiceAnswer word) { then(std::move(word)); };
        };
        if (auto* whole = std::get_if<WholeBody>(&said.what)) {
            whole->then = [last, go_on = std::move(whole->then)](Bytes body, OnAnswer then) {
                go_on(std::move(body), last(std::move(then)));
            };
        } else if (auto* upload = std::get_if<UploadBody>(&said.what)) {
            upload->end = [last, end = std::move(upload->end)](std::uint64_t bytes, Status read, OnAnswer then) {
                end(bytes, std::move(read), last(std::move(then)));
            };
        }
        answer(std::move(said));
    };
}

void Service::handle(r::Route route, const Client& client, OnAnswer answer) {
    const bool changes = r::is_write(route) || r::is_delete(route);
    if (changes && !options_.remote_writes && !client.proxied && (!client.loopback || client.forwarded)) {
        return say(answer, refusal(r::ErrorCode::denied,
                                   "this node takes pushes from its own host only; start it with "
                                   "--remote-writes allow to take them from elsewhere"));
    }
    if (r::is_delete(route) && !options_.deletes) {
        return say(answer, refusal(r::ErrorCode::unsupported,
                                   "deleting is off; start the node with --deletes allow"));
    }
    if (const Name* name = r::name_of(route); name != nullptr && !(name->registry.empty() && name->ns.empty())) {
        return say(answer, refusal(r::ErrorCode::name_unknown,
                                   "this node has no upstream for " +
                                       (name->registry.empty() ? name->ns : name->registry)));
    }
    if (changes && !draining_.empty()) {
        auto busy = r::make_error(r::ErrorCode::unavailable, "this node is " + draining_);
        busy.retry_after_s = 5;
        return say(answer, r::error_answer(busy));
    }
    if (changes) answer = counted(std::move(answer));
    const Asker asker{client.address + (client.proxied ? " (a member passes it on)" : ""), core_.now()};
    std::visit(
        [&](auto& ask) {
            using T = std::decay_t<decltype(ask)>;
            if constexpr (std::is_same_v<T, r::Ping>) {
                say(answer, r::ping_answer());
            } else if constexpr (std::is_same_v<T, r::Live>) {
                say(answer, r::health_answer(true));
            } else if constexpr (std::is_same_v<T, r::Ready>) {
                const Status status = core_.ready();
                const std::string why = !draining_.empty() ? draining_ : status ? "" : status.error().what;
                say(answer, r::health_answer(why.empty(), why));
            } else if constexpr (std::is_same_v<T, r::GetManifest>) {
                get_manifest(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::PutManifest>) {
                answer(ServiceAnswer{WholeBody{
                    options_.manifest_bytes, [this, ask = std::move(ask), asker](Bytes body, OnAnswer then) {
                        ManifestPush::start(core_, options_.push_timeout, ask, asker, std::move(body),
                                            std::move(then));
                    }}});
            } else if constexpr (std::is_same_v<T, r::DeleteManifest>) {
                delete_manifest(ask, asker, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::GetBlob>) {
                get_blob(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::DeleteBlob>) {
                delete_blob(ask, asker, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::StartUpload>) {
                start_upload(std::move(ask), asker, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::PatchUpload>) {
                patch_upload(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::PutUpload>) {
                put_upload(std::move(ask), true, asker, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::UploadStatus>) {
                upload_status(ask, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::CancelUpload>) {
                cancel_upload(ask, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::ListTags>) {
                list_tags(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::Referrers>) {
                referrers(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::Catalog>) {
                catalog(ask, std::move(answer));
            } else {
                auto refused = r::error_answer(ask.error);
                if (!ask.allow.empty()) refused.head.headers.set("Allow", ask.allow);
                say(answer, std::move(refused));
            }
        },
        route);
}

void Service::log_deleted(std::string_view event, const std::string& repository, const std::string& what,
                          const Asker& asker) {
    log::info(event, {{"repository", repository},
                      {"reference", what},
                      {"client", asker.client},
                      {"ms", millis_of(core_.now() - asker.since)}});
}

}  // namespace fastreg::node
