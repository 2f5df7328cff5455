#include "node/http_front.h"

#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/log.h"
#include "base/rare_line.h"
#include "node/member_proof.h"
#include "node/service_reply.h"
#include "node/upload_body.h"
#include "node/upload_proxy.h"
#include "registry/answers.h"
#include "registry/route.h"

namespace fastreg::node {

namespace {

bool is_loopback(const std::string& host) {
    return host.empty() || host == "::1" || host.starts_with("127.") || host.starts_with("::ffff:127.");
}

void send(Exchange& exchange, registry::Answer answer) {
    exchange.respond(std::move(answer.head), std::move(answer.body));
}

/// Clients are in no zone.
std::string served_label(const std::string& source) {
    return "direction=\"out\",source=\"" + source + "\",transport=\"http\",zone=\"none\"";
}

registry::Answer not_ready() {
    auto error = registry::make_error(registry::ErrorCode::unavailable, "this node is starting");
    error.retry_after_s = 1;
    return registry::error_answer(error);
}

}  // namespace

/// What handlers on io threads reach; the loop's pointers are read on the loop only.
struct HttpFront::Shared {
    uv::Loop& loop;
    Core* core = nullptr;
    Service* service = nullptr;
    Admin* admin = nullptr;
    ServedBytes served;
    std::optional<Mac> proxy_key;
    std::optional<MemberGate> gate;  // on the loop only; with a core and a key
    RareLine proofs_refused;
};

// --- the registry ------------------------------------------------------------------------------

class HttpFront::Registry final : public HttpHandler {
  public:
    Registry(std::shared_ptr<Shared> shared, Gauge& in_flight, Metrics& metrics)
        : shared_(std::move(shared)), in_flight_(in_flight) {
        for (std::size_t i = 0; i < kKinds.size(); ++i) {
            const std::string label = "kind=\"" + std::string(kKinds[i]) + "\"";
            durations_[i] = &metrics.histogram("fastreg_http_request_duration_seconds",
                                               "From the head of a request to the last byte of its answer",
                                               duration_bounds(), label);
        }
        for (std::size_t i = 0; i < requests_.size(); ++i) {
            for (std::size_t c = 0; c < kCodes.size(); ++c) {
                requests_[i][c] = &metrics.counter(
                    "fastreg_http_requests_total", "Requests to the registry, answered",
                    "method=\"" + std::string(kMethods[i / kKinds.size()]) + "\",kind=\"" +
                        std::string(kKinds[i % kKinds.size()]) + "\",code=\"" + std::string(kCodes[c]) + "\"");
            }
        }
    }

    void on_request(std::shared_ptr<Exchange> exchange) override {
        const auto& request = exchange->request();
        Client client;
        client.address = exchange->remote().str();
        client.loopback = is_loopback(exchange->remote().host);
        client.forwarded = request.headers.has("Forwarded") || request.headers.has("X-Forwarded-For") ||
                           request.headers.has("Via");
        auto route = registry::route(request);
        in_flight_.add(1);
        const std::size_t kind = kind_of(route);
        const Ticket ticket{exchange, std::make_shared<StreamId>(0)};
        exchange->add_on_done([in_flight = &in_flight_, duration = durations_[kind],
                               by_code = &requests_[method_of(request.method) * kKinds.size() + kind],
                               shared = shared_, stream = ticket.stream,
                               since = monotonic_now()](bool, int status) {
            in_flight->add(-1);
            duration->observe(seconds_of(monotonic_now() - since));
            if (status != 0) count(*by_code, status);
            shared->loop.post([shared, stream] {
                if (shared->core != nullptr && *stream != 0) shared->core->downloads().close_stream(*stream);
            });
        });
        shared_->loop.post([shared = shared_, ticket, client, route = std::move(route)]() mutable {
            if (shared->service == nullptr) {
                const auto& waiting = ticket.exchange;
                waiting->post([waiting] { send(*waiting, not_ready()); });
                return;
            }
            client.proxied = is_from_member(*shared, ticket.exchange->request());
            shared->service->handle(std::move(route), client, answer_to(shared, ticket));
        });
    }

  private:
    /// True when another node of the mesh passes this request on, and proves it.
    static bool is_from_member(Shared& shared, const http::Request& request) {
        const auto field = request.headers.find(kMemberField);
        if (!field || !shared.gate) return false;
        const auto admitted =
            shared.gate->admit(*field, request.method_name, request.target, wall_clock_ms());
        if (!admitted) {
            if (const auto unsaid = shared.proofs_refused.pass(monotonic_now())) {
                log::warn("member.proof_refused",
                          {{"why", admitted.error().what}, {"repeats", *unsaid}});
            }
        }
        return admitted.has_value();
    }

    static constexpr std::array<std::string_view, 4> kKinds{"manifest", "blob", "upload", "other"};
    static constexpr std::array<std::string_view, 6> kMethods{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    static constexpr std::array<std::string_view, 4> kCodes{"2xx", "3xx", "4xx", "5xx"};
    using ByCode = std::array<Counter*, kCodes.size()>;

    static std::size_t method_of(http::Method method) {
        switch (method) {
            case http::Method::head: return 1;
            case http::Method::post: return 2;
            case http::Method::put: return 3;
            case http::Method::patch: return 4;
            case http::Method::del: return 5;
            default: return 0;
        }
    }
    static void count(const ByCode& by_code, int status) {
        by_code[static_cast<std::size_t>(std::clamp(status / 100 - 2, 0, 3))]->add();
    }

    static std::size_t kind_of(const registry::Route& route) {
        namespace r = registry;
        if (std::holds_alternative<r::GetManifest>(route) || std::holds_alternative<r::PutManifest>(route)) return 0;
        if (std::holds_alternative<r::GetBlob>(route)) return 1;
        if (std::holds_alternative<r::StartUpload>(route) || std::holds_alternative<r::PatchUpload>(route) ||
            std::holds_alternative<r::PutUpload>(route)) {
            return 2;
        }
        return 3;
    }

    /// A request on its way; `stream` is read and written on the loop only, 0 while there is none.
    struct Ticket {
        std::shared_ptr<Exchange> exchange;
        std::shared_ptr<StreamId> stream;
    };

    /// Carries one answer of the service (loop) to its exchange (io thread).
    static OnAnswer answer_to(const std::shared_ptr<Shared>& shared, const Ticket& ticket) {
        return [shared, ticket](ServiceAnswer answer) {
            if (shared->core == nullptr) return;  // closed: every connection is cut
            std::visit([&](auto& what) { give(shared, ticket, what); }, answer.what);
        };
    }

    static void give(const std::shared_ptr<Shared>&, const Ticket& ticket, registry::Answer& answer) {
        const auto& exchange = ticket.exchange;
        exchange->post([exchange, answer = std::move(answer)]() mutable { send(*exchange, std::move(answer)); });
    }

    static void give(const std::shared_ptr<Shared>& shared, const Ticket& ticket, BlobAnswer& blob) {
        const auto& exchange = ticket.exchange;
        if (blob.file == nullptr) return stream(shared, ticket, blob);
        exchange->post([exchange, shared, blob = std::move(blob), counter = shared->served.local]() mutable {
            std::vector<BodyPart> parts;
            for (auto& piece : blob.plan.pieces) {
                BodyPart part{std::move(piece.text), nullptr, 0, 0};
                if (piece.range) {
                    part.file = blob.file;
                    part.offset = piece.range->first;
                    part.length = piece.range->size();
                }
                parts.push_back(std::move(part));
            }
            exchange->count_body_bytes(counter);
            exchange->on_file_failed([shared, digest = blob.digest] {
                shared->loop.post([shared, digest] {
                    if (shared->core != nullptr) shared->core->downloads().suspect(digest);
                });
            });
            exchange->respond(std::move(blob.plan.head), std::move(parts));
        });
    }

    /// The blob is still arriving: the client follows its verified prefix.
    static void stream(const std::shared_ptr<Shared>& shared, const Ticket& ticket, BlobAnswer& blob) {
        const auto& exchange = ticket.exchange;
        std::uint64_t begin = 0;
        std::uint64_t end = blob.size;
        for (const auto& piece : blob.plan.pieces) {
            if (!piece.range) continue;
            begin = piece.range->first;
            end = piece.range->last + 1;
        }
        exchange->post([exchange, shared, stream = ticket.stream, begin, end, head = std::move(blob.plan.head),
                        counter = shared->served.peer]() mutable {
            exchange->count_body_bytes(counter);
            exchange->respond_growing(std::move(head), begin, end, [shared, stream](std::uint64_t offset) {
                shared->loop.post([shared, stream, offset] {
                    if (shared->core != nullptr) shared->core->downloads().move_stream(*stream, offset);
                });
            });
        });
        *ticket.stream = shared->core->downloads().open_stream(
            blob.digest, blob.size, begin, end, [exchange](const StreamNews& news) {
                if (news.failed) {
                    exchange->post([exchange, answer = cannot_send(*news.failed)]() mutable {
                        exchange->fail(std::move(answer.head), std::move(answer.body));
                    });
                    return;
                }
                exchange->post([exchange, news] {
                    exchange->advance(news.file, news.ready_end);
                    if (news.done) exchange->finish();
                });
            });
        // The client may have gone before the stream was there to be closed.
        exchange->post([exchange, shared, stream = ticket.stream] {
            if (!exchange->done()) return;
            shared->loop.post([shared, stream] {
                if (shared->core != nullptr) shared->core->downloads().close_stream(*stream);
            });
        });
    }

    static void give(const std::shared_ptr<Shared>& shared, const Ticket& ticket, WholeBody& body) {
        const auto& exchange = ticket.exchange;
        exchange->post([shared, ticket, exchange, body = std::move(body)]() mutable {
            exchange->read_body(body.max, [shared, ticket, exchange,
                                           then = std::move(body.then)](Result<Bytes> bytes) mutable {
                if (!bytes) {
                    const bool promised = exchange->request().content_length.has_value();
                    return send(*exchange, registry::error_answer(registry::from_body_error(
                                               bytes.error(), promised ? registry::ErrorCode::size_invalid
                                                                       : registry::ErrorCode::manifest_invalid)));
                }
                shared->loop.post([shared, ticket, then = std::move(then), bytes = std::move(*bytes)]() mutable {
                    if (shared->service != nullptr) then(std::move(bytes), answer_to(shared, ticket));
                });
            });
        });
    }

    static void give(const std::shared_ptr<Shared>& shared, const Ticket& ticket, UploadBody& body) {
        const auto& exchange = ticket.exchange;
        auto sink = std::make_shared<UploadSink>(
            shared->loop, shared->core->store(), exchange, body.upload, body.most,
            [end = std::move(body.end), answer = answer_to(shared, ticket)](std::uint64_t bytes, Status status) {
                end(bytes, std::move(status), answer);
            });
        exchange->post([exchange, sink] {
            if (exchange->done()) {
                sink->on_end(fail(Errc::network, "the client went away before its body was read"));
            } else {
                exchange->read_body(sink);
            }
        });
    }

    static void give(const std::shared_ptr<Shared>& shared, const Ticket& ticket, ProxyTo& to) {
        const auto& exchange = ticket.exchange;
        const auto ask = [shared, owner = to.owner](std::function<void(bool)> answer) {
            shared->loop.post([shared, owner, answer = std::move(answer)] {
                if (shared->core == nullptr) return;
                const Member* member = shared->core->gossip().find(owner);
                // One that stops or leaves says so first and then ends what it has in hand.
                answer(member != nullptr && member->state != MemberState::dead);
            });
        };
        exchange->post([exchange, to = to.http, ask,
                        pass = MemberPass{shared->proxy_key, shared->core->gossip().self().id, to.owner}] {
            proxy_upload(exchange, to, pass, ask);
        });
    }

    std::shared_ptr<Shared> shared_;
    Gauge& in_flight_;
    std::array<Histogram*, 4> durations_{};
    std::array<ByCode, kMethods.size() * kKinds.size()> requests_{};
};

// --- the admin interface -----------------------------------------------------------------------

class HttpFront::AdminDoor final : public HttpHandler {
  public:
    explicit AdminDoor(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

    void on_request(std::shared_ptr<Exchange> exchange) override {
        exchange->read_body(kBodyMax, [shared = shared_, exchange](Result<Bytes> body) {
            if (!body) {
                http::ResponseHead head;
                head.status = body.error().code == Errc::too_large ? 413 : 400;
                return exchange->respond(std::move(head));
            }
            shared->loop.post([shared, exchange, text = std::string(as_text(*body))]() mutable {
                const auto answer = [exchange](AdminAnswer given) {
                    exchange->post([exchange, given = std::move(given)]() mutable {
                        http::ResponseHead head;
                        head.status = given.status;
                        head.headers.set("Content-Type", given.type);
                        if (!given.allow.empty()) head.headers.set("Allow", given.allow);
                        head.content_length = given.body.size();
                        exchange->respond(std::move(head), std::move(given.body));
                    });
                };
                if (shared->admin == nullptr) {
                    return answer({503, "application/json",
                                   "{\"error\":{\"code\":\"unavailable\",\"message\":\"the node is starting\"}}\n"});
                }
                const bool local = exchange->remote().empty();
                shared->admin->handle(exchange->request(), std::move(text), local, answer);
            });
        });
    }

  private:
    static constexpr std::uint64_t kBodyMax = 64U << 10U;
    std::shared_ptr<Shared> shared_;
};

// --- putting it together -----------------------------------------------------------------------

HttpFront::HttpFront(uv::Loop& loop, FrontOptions options, Metrics& metrics)
    : options_(std::move(options)),
      served_{&metrics.counter("fastreg_bytes_total", "", served_label("local")),
              &metrics.counter("fastreg_bytes_total", "", served_label("peer")),
              &metrics.counter("fastreg_bytes_total", "", served_label("upstream"))},
      in_flight_(metrics.gauge("fastreg_http_inflight",
                               "Requests to the registry between their head and the end of their answer")),
      shared_(std::make_shared<Shared>(
          Shared{loop, nullptr, nullptr, nullptr, served_, options_.proxy_key, std::nullopt})),
      registry_meters_(metrics, "registry"),
      admin_meters_(metrics, "admin"),
      registry_(std::make_unique<Registry>(shared_, in_flight_, metrics)),
      admin_(std::make_unique<AdminDoor>(shared_)) {
    HttpOptions http;
    const config::Limits& limits = options_.limits;
    http.parser.head_bytes = limits.head_bytes;
    http.parser.fields = limits.headers;
    http.connections_max = limits.connections;
    http.connections_per_address_max = limits.connections_per_address;
    http.head_deadline = limits.head_timeout;
    http.idle_deadline = limits.idle_timeout;
    http.progress_deadline = limits.progress_timeout;
    registry_server_ = std::make_unique<HttpServer>(options_.io_threads, http, *registry_, registry_meters_);
    http.connections_max = 64;
    http.body_blocks = 4;
    admin_server_ = std::make_unique<HttpServer>(options_.io_threads, http, *admin_, admin_meters_);
}

HttpFront::~HttpFront() {
    close();
}

void HttpFront::close() {
    shared_->core = nullptr;
    shared_->service = nullptr;
    shared_->admin = nullptr;
    registry_server_.reset();
    admin_server_.reset();
}

Result<Endpoint> HttpFront::listen_registry(const Endpoint& address) {
    FR_TRY(registry_server_->listen(address, "--http-listen"));
    return registry_server_->address();
}

Result<Endpoint> HttpFront::listen_admin(const Endpoint& address) {
    FR_TRY(admin_server_->listen(address, "--admin-listen"));
    return admin_server_->address();
}

Status HttpFront::listen_admin_socket(const std::string& path) {
    return admin_server_->listen_unix(path);
}

void HttpFront::serve(Core& core, Service& service, Admin& admin) {
    shared_->core = &core;
    shared_->service = &service;
    shared_->admin = &admin;
    if (shared_->proxy_key) shared_->gate.emplace(*shared_->proxy_key, core.gossip().self().id);
}

void HttpFront::stop_accepting() {
    registry_server_->drain();
}

}  // namespace fastreg::node
