#include "wire/directory.h"

#include "wire/pack.h"
#include "wire/shards.h"

namespace fastreg::wire {

namespace {

enum DirectoryType : std::uint8_t {
    kAnnounce = 0x20,
    kAnnounceAck = 0x21,
    kShardSummary = 0x22,
    kShardSummaryReply = 0x23,
    kLookup = 0x24,
    kLookupReply = 0x25,
    kShardPull = 0x26,
    kShardPage = 0x27,
    kWrongHint = 0x28,
};

constexpr auto kKindMax = static_cast<std::uint64_t>(HolderKind::home);

std::uint64_t number(HolderKind kind) { return static_cast<std::uint64_t>(kind); }
HolderKind read_kind(MapReader& in, int key) {
    return static_cast<HolderKind>(in.number(key, 0, kKindMax));
}

std::vector<std::uint64_t> numbers(const std::vector<ShardId>& shards) {
    return {shards.begin(), shards.end()};
}
std::optional<std::uint64_t> read_optional(MapReader& in, int key) {
    if (!in.has(key)) return std::nullopt;
    return in.number(key);
}

Digest read_digest(MapReader& in, int key) {
    in.require(key);
    return in.digest(key);
}
NodeId read_node(MapReader& in, int key) {
    in.require(key);
    return in.node_id(key);
}

struct DirectoryWriter {
    std::uint8_t type = 0;
    RequestId request = 0;
    MapWriter map;

    void operator()(const Announce& m) {
        type = kAnnounce;
        request = m.request;
        map.put(1, m.epoch).put(2, m.seq);
        if (!m.resets.empty()) map.put_numbers(3, numbers(m.resets));
        map.put_list(4, m.entries, [](MapWriter& w, const Announce::Entry& e) {
            w.put(1, e.digest).put(2, e.size).put(3, number(e.was)).put(4, number(e.now));
        });
    }
    void operator()(const AnnounceAck& m) {
        type = kAnnounceAck;
        request = m.request;
        map.put_bool(1, m.unknown).put(2, m.enough);
    }
    void operator()(const ShardSummary& m) {
        type = kShardSummary;
        request = m.request;
        map.put(1, m.epoch).put(2, m.seq);
        map.put_list(3, m.items, [](MapWriter& w, const ShardSummary::Item& i) {
            w.put(1, std::uint64_t{i.shard}).put(2, i.count).put(3, i.hash);
        });
    }
    void operator()(const ShardSummaryReply& m) {
        type = kShardSummaryReply;
        request = m.request;
        map.put_numbers(1, numbers(m.want)).put_numbers(2, numbers(m.later));
    }
    void operator()(const Lookup& m) {
        type = kLookup;
        request = m.request;
        map.put(1, m.digest).put_bool(2, m.download);
    }
    void operator()(const LookupReply& m) {
        type = kLookupReply;
        request = m.request;
        map.put(1, m.digest).put_bool(2, m.not_yet);
        if (m.size) map.put(3, *m.size);
        map.put_list(4, m.holders, [](MapWriter& w, const LookupReply::Holder& h) {
            w.put(1, h.node).put(2, number(h.kind));
        });
    }
    void operator()(const ShardPull& m) {
        type = kShardPull;
        request = m.request;
        map.put_numbers(1, numbers(m.shards));
        if (m.after) map.put(2, *m.after);
    }
    void operator()(const ShardPage& m) {
        type = kShardPage;
        request = m.request;
        map.put_list(1, m.entries, [](MapWriter& w, const ShardPage::Entry& e) {
            w.put(1, e.digest);
            if (e.size) w.put(2, *e.size);
            w.put_list(3, e.holders, [](MapWriter& inner, const ShardPage::Holder& h) {
                inner.put(1, h.node).put(2, h.epoch).put(3, number(h.kind));
            });
        });
        map.put_numbers(2, numbers(m.not_yet)).put_bool(3, m.more);
    }
    void operator()(const WrongHint& m) {
        type = kWrongHint;
        map.put(1, m.digest).put(2, m.holder);
    }
};

Announce read_announce(MapReader& in) {
    Announce m;
    m.epoch = in.number(1);
    m.seq = in.number(2);
    m.resets = read_shards(in, 3);
    in.list(4, kAnnounceEntriesMax, [&](MapReader& item) {
        auto& e = m.entries.emplace_back();
        e.digest = read_digest(item, 1);
        e.size = item.number(2);
        e.was = read_kind(item, 3);
        e.now = read_kind(item, 4);
    });
    return m;
}

ShardSummary read_summary(MapReader& in) {
    ShardSummary m;
    m.epoch = in.number(1);
    m.seq = in.number(2);
    in.list(3, kSummaryItemsMax, [&](MapReader& item) {
        m.items.push_back({static_cast<ShardId>(item.number(1, 0, kShardMax)), item.number(2),
                           item.number(3)});
    });
    return m;
}

LookupReply read_lookup_reply(MapReader& in) {
    LookupReply m;
    m.digest = read_digest(in, 1);
    m.not_yet = in.boolean(2);
    m.size = read_optional(in, 3);
    in.list(4, kHoldersPerReplyMax, [&](MapReader& item) {
        m.holders.push_back({read_node(item, 1), read_kind(item, 2)});
        if (m.holders.back().kind == HolderKind::none) item.reject("names a holder of nothing");
    });
    return m;
}

ShardPage read_page(MapReader& in) {
    ShardPage m;
    in.list(1, kFrameBodyMax, [&](MapReader& item) {
        auto& e = m.entries.emplace_back();
        e.digest = read_digest(item, 1);
        e.size = read_optional(item, 2);
        item.list(3, kPageHoldersMax, [&](MapReader& inner) {
            e.holders.push_back({read_node(inner, 1), inner.number(2), read_kind(inner, 3)});
            if (e.holders.back().kind == HolderKind::none) inner.reject("names a holder of nothing");
        });
    });
    m.not_yet = read_shards(in, 2);
    m.more = in.boolean(3);
    return m;
}

}  // namespace

Frame encode(const DirectoryMessage& message) {
    DirectoryWriter writer;
    std::visit(writer, message);
    return {writer.type, 0, writer.request, writer.map.finish()};
}

Result<DirectoryMessage> decode_directory(const Frame& frame) {
    FR_TRY_ASSIGN(auto in, MapReader::parse(frame.body));
    DirectoryMessage message;
    switch (frame.type) {
        case kAnnounce: message = read_announce(in); break;
        case kAnnounceAck: message = AnnounceAck{0, in.boolean(1), in.number(2)}; break;
        case kShardSummary: message = read_summary(in); break;
        case kShardSummaryReply:
            message = ShardSummaryReply{0, read_shards(in, 1), read_shards(in, 2)};
            break;
        case kLookup: message = Lookup{0, read_digest(in, 1), in.boolean(2)}; break;
        case kLookupReply: message = read_lookup_reply(in); break;
        case kShardPull: {
            ShardPull m{0, read_shards(in, 1), {}};
            if (in.has(2)) m.after = in.digest(2);
            message = std::move(m);
            break;
        }
        case kShardPage: message = read_page(in); break;
        case kWrongHint: message = WrongHint{read_digest(in, 1), read_node(in, 2)}; break;
        default:
            return fail(Errc::unsupported,
                        "directory message of unknown type " + std::to_string(frame.type));
    }
    FR_TRY(in.status());
    std::visit(
        [&](auto& m) {
            if constexpr (requires { m.request; }) m.request = frame.request;
        },
        message);
    return message;
}

std::size_t encoded_size(const ShardPage::Entry& entry) {
    // Map and list heads, keys, a digest of 65 bytes with its head, a size; then 34 bytes a holder.
    return 1 + 1 + 68 + 10 + 4 + entry.holders.size() * (1 + 1 + 18 + 1 + 9 + 1 + 1);
}

}  // namespace fastreg::wire
