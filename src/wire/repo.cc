#include "wire/repo.h"

#include "wire/pack.h"
#include "wire/shards.h"

namespace fastreg::wire {

namespace {

enum RepoType : std::uint8_t {
    kPut = 0x30,
    kPutAck = 0x31,
    kGet = 0x32,
    kGetReply = 0x33,
    kSummary = 0x34,
    kPull = 0x35,
    kPage = 0x36,
};

constexpr std::size_t kAckTextMax = 512;
constexpr std::uint64_t kGetLimitMax = 100'000;

void write_rows(MapWriter& map, int key, const std::vector<Row>& rows) {
    map.put_list(key, rows, [](MapWriter& w, const Row& r) {
        w.put(1, r.repository).put(2, r.key);
        if (!r.value.empty()) w.put_bytes(3, r.value);
        w.put(4, r.hlc).put(5, r.writer);
        if (r.tombstone) w.put_bool(6, true);
    });
}

std::vector<Row> read_rows(MapReader& in, int key) {
    std::vector<Row> rows;
    in.list(key, kRowsPerMessageMax, [&](MapReader& item) {
        auto& r = rows.emplace_back();
        r.repository = item.text(1, kRepositoryMax);
        r.key = item.text(2, kRowKeyMax);
        const auto value = item.bytes(3, kRowValueMax);
        r.value.assign(value.begin(), value.end());
        r.hlc = item.number(4);
        r.writer = item.node_id(5);
        r.tombstone = item.boolean(6);
        if (r.repository.empty() || r.key.empty()) item.reject("holds a row without a name");
        if (!r.writer.known() || r.hlc == 0) item.reject("holds a row without a stamp");
        if (r.tombstone && !r.value.empty()) item.reject("holds a deleted row with a value");
    });
    return rows;
}

struct RepoWriter {
    std::uint8_t type = 0;
    MapWriter map;

    void operator()(const RepoPut& m) {
        type = kPut;
        write_rows(map, 1, m.rows);
    }
    void operator()(const RepoPutAck& m) {
        type = kPutAck;
        map.put(1, static_cast<std::uint64_t>(m.answer)).put(2, m.newest);
        if (!m.text.empty()) map.put(3, std::string_view(m.text).substr(0, kAckTextMax));
    }
    void operator()(const RepoGet& m) {
        type = kGet;
        map.put(1, m.repository).put_bool(2, m.range).put(3, m.key).put(4, m.after);
        map.put(5, std::uint64_t{m.limit});
        if (m.follow) map.put_bool(6, true);
    }
    void operator()(const RepoGetReply& m) {
        type = kGetReply;
        map.put(1, static_cast<std::uint64_t>(m.answer));
        write_rows(map, 2, m.rows);
        map.put_bool(3, m.more);
    }
    void operator()(const RepoSummary& m) {
        type = kSummary;
        map.put_bool(1, m.reply);
        map.put_list(2, m.items, [](MapWriter& w, const RepoSummary::Item& i) {
            w.put(1, std::uint64_t{i.shard}).put(2, i.count).put(3, i.hash);
        });
        if (!m.vouched.empty()) map.put_bytes(3, m.vouched);
        if (!m.served.empty()) map.put_bytes(4, m.served);
        if (!m.known.empty()) map.put_bytes(5, m.known);
        if (!m.stood.empty()) map.put_bytes(6, m.stood);
    }
    void operator()(const RepoPull& m) {
        type = kPull;
        map.put_numbers(1, {m.shards.begin(), m.shards.end()});
        if (!m.has_after) return;
        map.put(2, std::uint64_t{m.after_shard}).put(3, m.after_repository).put(4, m.after_key);
    }
    void operator()(const RepoPage& m) {
        type = kPage;
        write_rows(map, 1, m.rows);
        map.put_bool(2, m.more);
    }
};

Bytes read_bits(MapReader& in, int key) {
    const auto bits = in.bytes(key, kRepoSummaryItemsMax / 8);
    return {bits.begin(), bits.end()};
}

RepoMessage read_message(std::uint8_t type, MapReader& in) {
    switch (type) {
        case kPut: return RepoPut{0, read_rows(in, 1)};
        case kPutAck:
            return RepoPutAck{0, static_cast<RepoPutAck::Answer>(in.number(1, 0, 2)), in.number(2),
                              std::string(in.text(3, kAckTextMax))};
        case kGet: {
            RepoGet m{0, std::string(in.text(1, kRepositoryMax)), in.boolean(2),
                      std::string(in.text(3, kRowKeyMax)), std::string(in.text(4, kRowKeyMax)),
                      static_cast<std::uint32_t>(in.number(5, 1, kGetLimitMax)), in.boolean(6)};
            if (m.repository.empty()) in.reject("asks for a repository without a name");
            if (!m.range && m.key.empty()) in.reject("asks for a row without a key");
            if (m.range && m.follow) in.reject("follows the tags of a range");
            return m;
        }
        case kGetReply:
            return RepoGetReply{0, static_cast<RepoGetReply::Answer>(in.number(1, 0, 2)),
                                read_rows(in, 2), in.boolean(3)};
        case kSummary: {
            RepoSummary m{0, in.boolean(1), {}, read_bits(in, 3), read_bits(in, 4), read_bits(in, 5), read_bits(in, 6)};
            in.list(2, kRepoSummaryItemsMax, [&](MapReader& item) {
                m.items.push_back({static_cast<ShardId>(item.number(1, 0, kShardMax)),
                                   item.number(2), item.number(3)});
            });
            return m;
        }
        case kPull: {
            RepoPull m;
            m.shards = read_shards(in, 1);
            m.has_after = in.has(2);
            if (!m.has_after) return m;
            m.after_shard = static_cast<ShardId>(in.number(2, 0, kShardMax));
            m.after_repository = in.text(3, kRepositoryMax);
            m.after_key = in.text(4, kRowKeyMax);
            return m;
        }
        default: return RepoPage{0, read_rows(in, 1), in.boolean(2)};
    }
}

}  // namespace

std::size_t row_cost(const Row& row) {
    return 64 + row.repository.size() + row.key.size() + row.value.size();
}

Status check_row(const Row& row) {
    const auto over = [&](std::string_view part, std::size_t size, std::size_t max) {
        return fail(Errc::too_large, "row of repository '" + row.repository.substr(0, 64) + "': " +
                                         std::string(part) + " of " + std::to_string(size) +
                                         " bytes, at most " + std::to_string(max) + " are kept");
    };
    if (row.repository.empty() || row.key.empty()) {
        return fail(Errc::invalid_argument, "a row needs a repository and a key");
    }
    if (row.repository.size() > kRepositoryMax) {
        return over("name", row.repository.size(), kRepositoryMax);
    }
    if (row.key.size() > kRowKeyMax) return over("key", row.key.size(), kRowKeyMax);
    if (row.value.size() > kRowValueMax) return over("value", row.value.size(), kRowValueMax);
    return {};
}

Frame encode(const RepoMessage& message) {
    RepoWriter writer;
    std::visit(writer, message);
    const auto request = std::visit([](const auto& m) { return m.request; }, message);
    return {writer.type, 0, request, writer.map.finish()};
}

Result<RepoMessage> decode_repo(const Frame& frame) {
    if (frame.type < kPut || frame.type > kPage) {
        return fail(Errc::unsupported,
                    "repository message of unknown type " + std::to_string(frame.type));
    }
    FR_TRY_ASSIGN(auto in, MapReader::parse(frame.body));
    auto message = read_message(frame.type, in);
    FR_TRY(in.status());
    std::visit([&](auto& m) { m.request = frame.request; }, message);
    return message;
}

}  // namespace fastreg::wire
