// What the clients do in a turn, and what they hold each answer against.
#include "tests/sim/clients.h"

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "repo/values.h"

namespace fastreg::sim {

namespace {

constexpr std::size_t kRepositories = 3;
constexpr std::size_t kTags = 3;
constexpr std::uint64_t kRushBytes = 24 * kChunkSizeMin;  // chunks are left to offer when the third asks
constexpr std::size_t kRushPulls = 6;
constexpr Duration kPullMax = 120s;  // by then the node must have said yes or no

Block pushed_block(ByteView bytes) {
    static const auto pool = BlockPool::create(256U << 10U, 16);
    Block block = pool->try_take();
    if (!block) block = BlockPool::create(256U << 10U, 1)->try_take();
    std::ranges::copy(bytes, block.room().begin());
    block.set_filled(bytes.size());
    return block;
}

std::string brief(const std::optional<Digest>& digest) { return digest ? digest->brief() : "nothing"; }

}  // namespace

struct Clients::Push {
    std::size_t node = 0;
    std::uint64_t life = 0;
    std::string repo, tag;
    std::vector<std::size_t> blobs;  // the last one is the manifest
    std::size_t at = 0;
    bool rush = false;  // no manifest, and so no second copy: others pull the one blob at once
    std::shared_ptr<store::UploadFile> upload;
    std::uint64_t sent = 0;
    std::size_t copies_left = 0;
    bool enough = true;
    bool all_copies = true;
};

struct Clients::Pull {
    std::uint64_t id = 0;
    std::size_t node = 0;
    std::uint64_t life = 0;
    std::size_t blob = 0;
    std::uint64_t at = 0;
    std::uint64_t end = 0;
    Instant since;
    std::function<void(bool)> done;
};

void Clients::act() {
    const std::size_t node = world_.rng.below(nodes_.size());
    if (!nodes_[node]->running()) return;
    const std::string repo = "team/app" + std::to_string(world_.rng.below(kRepositories));
    const std::string tag = "v" + std::to_string(world_.rng.below(kTags));
    const std::uint64_t what = world_.rng.below(100);
    if (what < 15) {
        push_image(node);
    } else if (what < 29) {
        set_tag(node, repo, tag, false);
        const std::size_t other = world_.rng.below(nodes_.size());
        if (world_.rng.chance(0.5) && nodes_[other]->running()) set_tag(other, repo, tag, false);
    } else if (what < 38) {
        set_tag(node, repo, tag, true);
    } else if (what < 63) {
        read_tag(node, repo, tag, [](const Result<std::optional<Digest>>&) {});
    } else if (what < 69) {
        list_tags(node, repo);
    } else if (!blobs_.empty()) {
        const std::size_t blob = world_.rng.below(blobs_.size());
        const BlobTruth& truth = blobs_[blob];
        if (truth.durable_at.empty()) return;
        std::uint64_t begin = 0;
        std::uint64_t end = truth.bytes.size();
        if (end > 1 && world_.rng.chance(0.4)) {
            begin = world_.rng.below(end);
            if (world_.rng.chance(0.5)) end = begin + 1 + world_.rng.below(end - begin);
        }
        world_.count(begin == 0 && end == truth.bytes.size() ? "client.pull" : "client.range");
        pull(node, blob, begin, end, [this](bool ok) { world_.count(ok ? "pull.ok" : "pull.failed"); });
        // Many clients want one image at once.
        for (std::uint64_t i = world_.rng.below(3); i > 0; --i) {
            const std::size_t other = world_.rng.below(nodes_.size());
            if (nodes_[other]->running()) pull(other, blob, 0, truth.bytes.size(), [](bool) {});
        }
    }
}

// --- pushes --------------------------------------------------------------------------------------

std::size_t Clients::make_blob(std::uint64_t size) {
    Rng rng = world_.rng.fork();
    BlobTruth truth;
    truth.bytes.resize(size);
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < size; ++i) {
        if (i % 8 == 0) word = rng.next();
        truth.bytes[i] = static_cast<std::byte>(word >> (i % 8 * 8));
    }
    truth.digest = digest_of(world_.rng.chance(0.1) ? HashAlg::sha512 : HashAlg::sha256, truth.bytes);
    for (std::size_t i = 0; i < blobs_.size(); ++i) {
        if (blobs_[i].digest == truth.digest) return i;  // the empty blob
    }
    blobs_.push_back(std::move(truth));
    return blobs_.size() - 1;
}

bool Clients::alive(const Push& push) const {
    return nodes_[push.node]->life() == push.life && nodes_[push.node]->running();
}

void Clients::push_image(std::size_t node) {
    world_.count("client.push");
    auto push = std::make_shared<Push>();
    push->node = node;
    push->life = nodes_[node]->life();
    push->repo = "team/app" + std::to_string(world_.rng.below(kRepositories));
    push->tag = "v" + std::to_string(world_.rng.below(kTags));
    for (std::uint64_t layers = 1 + world_.rng.below(2); layers > 0; --layers) {
        // Mostly a few chunks; now and then nothing at all, exactly a chunk, or much more.
        const std::uint64_t kind = world_.rng.below(20);
        std::uint64_t size = world_.rng.below(blob_max_);
        if (kind == 0) size = 0;
        if (kind == 1) size = kChunkSizeMin * (1 + world_.rng.below(3));
        if (kind < 8 && kind > 1) size = world_.rng.below(5'000);
        push->blobs.push_back(make_blob(size));
    }
    push->blobs.push_back(make_blob(300 + world_.rng.below(1'000)));
    push_next(push);
}

void Clients::rush(std::size_t node) {
    world_.count("client.rush");
    auto push = std::make_shared<Push>();
    push->node = node;
    push->life = nodes_[node]->life();
    push->rush = true;
    push->blobs.push_back(make_blob(kRushBytes));
    push_next(push);
}

void Clients::pull_elsewhere(std::size_t node, std::size_t blob) {
    // A moment later, when the directory knows of the blob.
    world_.after(200ms, [this, node, blob] {
        std::vector<std::size_t> others;
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            if (i != node && nodes_[i]->running()) others.push_back(i);
        }
        world_.rng.shuffle(others);
        others.resize(std::min(others.size(), kRushPulls));
        for (const std::size_t i : others) pull(i, blob, 0, kRushBytes, [](bool) {});
    });
}

void Clients::push_next(const PushPtr& push) {
    if (!alive(*push)) return;
    if (push->rush && push->at == 1) return pull_elsewhere(push->node, push->blobs[0]);
    if (push->at + 1 == push->blobs.size() && !push->rush) return push_manifest(push);
    store::Store& store = nodes_[push->node]->store();
    push->sent = 0;
    store.begin_upload([this, push](Result<std::shared_ptr<store::UploadFile>> begun) {
        if (!begun || !alive(*push)) return;
        push->upload = *begun;
        append_next(push);
    });
}

void Clients::append_next(const PushPtr& push) {
    if (!alive(*push)) return;
    store::Store& store = nodes_[push->node]->store();
    const std::size_t index = push->blobs[push->at];
    const BlobTruth& blob = blobs_[index];
    const auto abort = [this, push] {
        world_.count("push.broken");
        nodes_[push->node]->store().abort_upload(push->upload, [](const Status&) {});
    };
    if (push->sent < blob.bytes.size()) {
        const auto piece = ByteView(blob.bytes).subspan(
            push->sent, std::min<std::size_t>(256U << 10U, blob.bytes.size() - push->sent));
        push->sent += piece.size();
        store.append(push->upload, pushed_block(piece), [this, push, abort](const Status& status) {
            if (!alive(*push)) return;
            if (!status) return abort();
            append_next(push);
        });
        return;
    }
    store.commit_upload(
        push->upload, blob.digest, true, store::Durability::durable,
        [this, push, index, abort](const Result<store::BlobInfo>& info) {
            if (!alive(*push)) return;
            if (!info) return abort();
            BlobTruth& truth = blobs_[index];
            if (info->size != truth.bytes.size()) world_.broken("a push was acknowledged with another size");
            truth.durable_at[push->node] = nodes_[push->node]->disk_life();
            nodes_[push->node]->core().on_pushed(truth.digest, truth.bytes.size());
            ++push->at;
            push_next(push);
        });
}

void Clients::push_manifest(const PushPtr& push) {
    BlobTruth& manifest = blobs_[push->blobs.back()];
    nodes_[push->node]->store().put_small(
        manifest.digest, manifest.bytes, true, store::Durability::durable, [this, push](const Status& kept) {
            if (!alive(*push)) return;
            if (!kept) return world_.count("push.broken");
            BlobTruth& truth = blobs_[push->blobs.back()];
            truth.durable_at[push->node] = nodes_[push->node]->disk_life();
            nodes_[push->node]->core().on_pushed(truth.digest, truth.bytes.size());
            place_copies(push);
        });
}

void Clients::place_copies(const PushPtr& push) {
    push->copies_left = push->blobs.size();
    for (const std::size_t index : push->blobs) {
        const BlobTruth& blob = blobs_[index];
        node::Core& core = nodes_[push->node]->core();
        core.homes().ensure(blob.digest, blob.bytes.size(), core.now() + 30s,
                            [this, push](const node::Copies& copies) {
                                if (!alive(*push)) return;
                                push->enough = push->enough && copies.enough();
                                push->all_copies = push->all_copies && copies.kept >= replicas_;
                                if (--push->copies_left == 0) write_names(push);
                            });
        core.drain();
    }
}

void Clients::write_names(const PushPtr& push) {
    if (!push->enough) return world_.count("push.too_few_copies");
    const BlobTruth& manifest = blobs_[push->blobs.back()];
    std::vector<repo::Change> changes;
    repo::ManifestValue value;
    value.media_type = "application/vnd.oci.image.manifest.v1+json";
    value.size = manifest.bytes.size();
    changes.push_back({repo::manifest_key(manifest.digest), value.encode()});
    std::map<Digest, std::uint64_t> sizes;  // two layers may be the same blob, and a row is written once
    for (const std::size_t index : push->blobs) sizes[blobs_[index].digest] = blobs_[index].bytes.size();
    for (const auto& [digest, size] : sizes) {
        repo::BlobLinkValue link;
        link.size = size;
        changes.push_back({repo::blob_key(digest), link.encode()});
    }
    changes.push_back({repo::tag_key(push->tag), repo::TagValue{manifest.digest}.encode()});
    const std::size_t at = begin_write(push->repo, push->tag, manifest.digest);
    nodes_[push->node]->core().write_rows(push->repo, std::move(changes), [this, push, at](const Status& status) {
        if (!status) return world_.count("push.rows_refused");
        world_.count("push.ok");
        keys_[{push->repo, push->tag}][at].end = world_.now();
        for (const std::size_t index : push->blobs) {
            blobs_[index].replicated = blobs_[index].replicated || push->all_copies;
        }
    });
}

// --- names ---------------------------------------------------------------------------------------

std::size_t Clients::begin_write(const std::string& repo, const std::string& tag, std::optional<Digest> value) {
    auto& writes = keys_[{repo, tag}];
    writes.push_back({world_.now(), Instant::never(), std::move(value)});
    return writes.size() - 1;
}

void Clients::set_tag(std::size_t node, const std::string& repo, const std::string& tag, bool remove) {
    world_.count(remove ? "client.delete" : "client.tag");
    std::optional<Digest> value;
    if (!remove) {
        const std::uint64_t salt = world_.rng.next();
        value = digest_of(HashAlg::sha256, std::as_bytes(std::span(&salt, 1)));
    }
    std::vector<repo::Change> changes(1);
    changes[0].key = repo::tag_key(tag);
    if (value) changes[0].value = repo::TagValue{*value}.encode();
    const std::size_t at = begin_write(repo, tag, value);
    nodes_[node]->core().write_rows(repo, std::move(changes),
                                    [this, repo, tag, at, value, node](const Status& status) {
                                        world_.count(status ? "tag.ok" : "tag.refused");
                                        if (status) {
                                            keys_[{repo, tag}][at].end = world_.now();
                                            read_elsewhere(repo, tag);
                                        }
                                        world_.note("node " + std::to_string(node) + " " + repo + ":" + tag + " = " +
                                                    brief(value) +
                                                    (status ? " kept" : " refused: " + status.error().what));
                                    });
}

void Clients::read_tag(std::size_t node, const std::string& repo, const std::string& tag,
                       std::function<void(Result<std::optional<Digest>>)> done) {
    world_.count("client.read");
    nodes_[node]->core().read_rows(
        repo, repo::Query::tag(repo::tag_key(tag)),
        [this, repo, tag, node, start = world_.now(), done = std::move(done)](
            const Result<std::vector<repo::Row>>& rows, bool) {
            if (!rows) {
                world_.count("read.refused");
                return done(tl::unexpected<Error>(rows.error()));
            }
            std::optional<Digest> got;
            if (!rows->empty()) {
                const auto value = repo::TagValue::decode(rows->back().value);
                if (!value) return world_.broken("a tag's row cannot be read");
                got = value->manifest;
            }
            world_.count("read.ok");
            world_.note("node " + std::to_string(node) + " reads " + repo + ":" + tag + " = " + brief(got));
            check_read(repo, tag, start, got);
            done(got);
        });
}

/// What is acknowledged is seen at once, and later, on any node.
void Clients::read_elsewhere(const std::string& repo, const std::string& tag) {
    const Duration much_later{static_cast<std::int64_t>(world_.rng.below(5'000'000'000))};
    for (const Duration later : {Duration(10us), much_later}) {
        const std::size_t node = world_.rng.below(nodes_.size());
        world_.after(later, [this, node, repo, tag] {
            if (nodes_[node]->running()) read_tag(node, repo, tag, [](const Result<std::optional<Digest>>&) {});
        });
    }
}

void Clients::check_read(const std::string& repo, const std::string& tag, Instant start,
                         const std::optional<Digest>& got) {
    const auto& writes = keys_[{repo, tag}];
    // Of the writes acknowledged before the read began, the last to begin: what was certainly over before
    // that one began may not be seen any more.
    Instant settled{std::numeric_limits<std::int64_t>::min()};
    for (const auto& write : writes) {
        if (write.end < start) settled = std::max(settled, write.start);
    }
    bool possible = false;
    if (!got && settled.ns == std::numeric_limits<std::int64_t>::min()) possible = true;
    for (const auto& write : writes) {
        if (write.value == got && write.end >= settled) possible = true;
    }
    if (!possible) {
        world_.broken("a read of " + repo + ":" + tag + " gives " + brief(got) +
                      ", older than a write that was acknowledged before it");
    }
}

void Clients::list_tags(std::size_t node, const std::string& repo) {
    world_.count("client.list");
    nodes_[node]->core().read_rows(
        repo, repo::Query::prefix(std::string(repo::kTagPrefix), {}, 100),
        [this, repo, start = world_.now()](const Result<std::vector<repo::Row>>& rows, bool more) {
            if (!rows) return;
            if (more) world_.broken("a list of few tags says that there are more");
            std::map<std::string, Digest> got;
            for (const auto& row : *rows) {
                const auto tag = repo::tag_of(row.key);
                const auto value = repo::TagValue::decode(row.value);
                if (!tag || !value) return world_.broken("a tag's row cannot be read");
                got.emplace(std::string(*tag), value->manifest);
            }
            for (const auto& [key, writes] : keys_) {
                if (key.first != repo) continue;
                const auto at = got.find(key.second);
                check_read(repo, key.second, start,
                           at == got.end() ? std::nullopt : std::optional(at->second));
            }
        });
}

// --- pulls ---------------------------------------------------------------------------------------

void Clients::pull(std::size_t node, std::size_t blob, std::uint64_t begin, std::uint64_t end,
                   std::function<void(bool)> done) {
    const BlobTruth& truth = blobs_[blob];
    auto pull = std::make_shared<Pull>();
    *pull = {next_++, node, nodes_[node]->life(), blob, begin, end, world_.now(), std::move(done)};
    pulls_.emplace(pull->id, pull);
    node::Core& core = nodes_[node]->core();
    const auto info = core.store().find(truth.digest);
    if (info && info->verified) {
        if (info->size != truth.bytes.size()) world_.broken("a blob is listed with another size");
        const auto file = core.store().open_blob(truth.digest);
        if (!file) return end_pull(pull, false);
        const bool read = compare(*pull, **file, end);
        return end_pull(pull, read);
    }
    if (info) {  // hashed before its first use
        core.downloads().acquire(truth.digest, truth.bytes.size(), false, std::nullopt,
                                 [this, pull](const Status& status) {
            SimNode& at = *nodes_[pull->node];
            if (at.life() != pull->life || !status) return end_pull(pull, false);
            const auto file = at.store().open_blob(blobs_[pull->blob].digest);
            end_pull(pull, file && compare(*pull, **file, pull->end));
        });
        return;
    }
    core.downloads().open_stream(truth.digest, truth.bytes.size(), begin, end,
                                 [this, pull](const node::StreamNews& news) { on_news(pull, news); });
}

bool Clients::compare(Pull& pull, store::File& file, std::uint64_t to) {
    const BlobTruth& truth = blobs_[pull.blob];
    if (to > truth.bytes.size() || to < pull.at) {
        world_.broken("a stream goes backwards or past its end");
        return false;
    }
    Bytes bytes(to - pull.at);
    const auto got = file.pread(bytes, pull.at);
    if (!got || *got != bytes.size()) return false;  // a bad disk: the client's connection breaks
    if (!bytes.empty() && std::memcmp(bytes.data(), truth.bytes.data() + pull.at, bytes.size()) != 0 &&
        !spoiled(pull.node)) {
        world_.broken("node " + std::to_string(pull.node) + " gave a client wrong bytes of " +
                      truth.digest.brief() + " behind " + std::to_string(pull.at));
    }
    pull.at = to;
    return true;
}

void Clients::on_news(const std::shared_ptr<Pull>& pull, const node::StreamNews& news) {
    SimNode& at = *nodes_[pull->node];
    if (at.life() != pull->life || !pulls_.contains(pull->id)) return;
    const BlobTruth& truth = blobs_[pull->blob];
    if (news.failed) return end_pull(pull, false);
    if (!news.file) return world_.broken("a stream tells of bytes without a file");
    const ChunkGrid grid(truth.bytes.size());
    if (news.ready_end > grid.offset_of(grid.count() - 1) && grid.count() > 1) {
        const auto status = at.core().transfer().status(truth.digest);
        const bool proven = !status || status->chunks.full() || at.store().find(truth.digest);
        if (!proven) {
            world_.broken("a stream of " + truth.digest.brief() +
                          " passes its last chunk before the blob is proven");
        }
    }
    const bool read = compare(*pull, *news.file, news.ready_end);
    if (!read) return end_pull(pull, false);
    if (!news.done) return;
    if (pull->at != pull->end) world_.broken("a stream is done before its end");
    end_pull(pull, true);
}

void Clients::end_pull(const std::shared_ptr<Pull>& pull, bool ok) {
    if (pulls_.erase(pull->id) == 0) return;
    if (nodes_[pull->node]->life() == pull->life) pull->done(ok);
}

void Clients::check_stuck() {
    std::vector<std::shared_ptr<Pull>> open;
    for (const auto& [id, pull] : pulls_) open.push_back(pull);
    for (const auto& pull : open) {
        if (nodes_[pull->node]->life() != pull->life) {
            pulls_.erase(pull->id);
        } else if (world_.now() - pull->since > kPullMax) {
            world_.broken("node " + std::to_string(pull->node) + " neither gives nor refuses " +
                          blobs_[pull->blob].digest.brief() + " for " +
                          std::to_string(millis_of(kPullMax) / 1000) + " s, at byte " + std::to_string(pull->at));
        }
    }
}

}  // namespace fastreg::sim
