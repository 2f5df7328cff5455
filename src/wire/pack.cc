#include "wire/pack.h"

#include <array>
#include <bitset>
#include <msgpack.hpp>

namespace fastreg::wire {

namespace {

constexpr int kKeyMax = 127;
constexpr std::size_t kDepthMax = 8;
constexpr std::size_t kEndpointTextMax = 253 + 8;  // host name, brackets, colon, port

struct Sink {
    Bytes& out;
    void write(const char* data, std::size_t size) {
        const auto* begin = reinterpret_cast<const std::byte*>(data);
        out.insert(out.end(), begin, begin + size);
    }
};

template <class Write>
void append(Bytes& out, Write write) {
    Sink sink{out};
    msgpack::packer<Sink> packer(sink);
    write(packer);
}

void append_map(Bytes& out, std::uint32_t count, const Bytes& fields) {
    append(out, [&](auto& packer) { packer.pack_map(count); });
    out.insert(out.end(), fields.begin(), fields.end());
}

enum class Kind : std::uint8_t { nil, boolean, number, negative, text, bytes, list, map, other };

/// One value of the message. A list or map is followed by its items; `next` skips all of them.
struct Node {
    Kind kind = Kind::nil;
    std::uint8_t key = 0;          // of the entry this value belongs to, when inside a map
    std::uint32_t next = 0;        // index of the value after this one at the same depth
    std::uint32_t count = 0;       // items of a list, entries of a map, length of a text
    std::uint64_t number = 0;      // also a boolean, or the two's complement of a negative number
    const char* data = nullptr;    // text or bytes, inside the input
};

/// Turns the events of the msgpack parser into a flat tree, and stops it at the first broken limit.
class TreeBuilder : public msgpack::null_visitor {
  public:
    explicit TreeBuilder(std::size_t input_size) : input_size_(input_size) {}

    std::vector<Node> nodes;
    std::string why = "is no msgpack map";

    bool visit_nil() { return add(Kind::nil); }
    bool visit_boolean(bool v) { return add(Kind::boolean, v ? 1 : 0); }
    bool visit_positive_integer(std::uint64_t v) {
        if (expect_key_) return take_key(v);
        return add(Kind::number, v);
    }
    bool visit_negative_integer(std::int64_t v) {
        return add(Kind::negative, static_cast<std::uint64_t>(v));
    }
    bool visit_float32(float) { return add(Kind::other); }
    bool visit_float64(double) { return add(Kind::other); }
    bool visit_str(const char* v, std::uint32_t size) { return add(Kind::text, 0, v, size); }
    bool visit_bin(const char* v, std::uint32_t size) { return add(Kind::bytes, 0, v, size); }
    bool visit_ext(const char*, std::uint32_t) { return stop("holds an extension type"); }
    bool start_array(std::uint32_t count) { return open(Kind::list, count, count); }
    bool end_array() { return close(); }
    bool start_map(std::uint32_t count) { return open(Kind::map, count, 2ULL * count); }
    bool end_map() { return close(); }
    bool start_map_key() {
        expect_key_ = true;
        return true;
    }
    bool end_map_key() { return true; }
    void parse_error(std::size_t, std::size_t) { why = "holds a byte that starts no value"; }
    void insufficient_bytes(std::size_t, std::size_t) { why = "ends in the middle of a value"; }

  private:
    bool stop(const char* reason) {
        why = reason;
        return false;
    }

    bool take_key(std::uint64_t key) {
        expect_key_ = false;
        if (key > kKeyMax) return stop("has a key over 127");
        auto& seen = seen_[depth_ - 1];
        if (seen.test(key)) return stop("has a key twice");
        seen.set(key);
        key_ = static_cast<std::uint8_t>(key);
        return true;
    }

    bool add(Kind kind, std::uint64_t number = 0, const char* data = nullptr,
             std::uint32_t count = 0) {
        if (expect_key_) return stop("has a key that is no small number");
        if (depth_ == 0 && kind != Kind::map) return stop("is no map");
        const auto next = static_cast<std::uint32_t>(nodes.size() + 1);
        nodes.push_back({kind, key_, next, count, number, data});
        return true;
    }

    bool open(Kind kind, std::uint32_t count, std::uint64_t values) {
        // Every value takes a byte at least, so the claims of an honest message never exceed its size.
        claimed_ += values;
        if (claimed_ >= input_size_) return stop("claims more values than it has bytes");
        if (!add(kind, 0, nullptr, count)) return false;
        if (depth_ == kDepthMax) return stop("is nested deeper than 8");
        open_[depth_] = static_cast<std::uint32_t>(nodes.size() - 1);
        seen_[depth_].reset();
        ++depth_;
        return true;
    }

    bool close() {
        --depth_;
        nodes[open_[depth_]].next = static_cast<std::uint32_t>(nodes.size());
        return true;
    }

    std::size_t input_size_;
    std::uint64_t claimed_ = 0;
    std::size_t depth_ = 0;
    bool expect_key_ = false;
    std::uint8_t key_ = 0;
    std::array<std::uint32_t, kDepthMax> open_{};
    std::array<std::bitset<kKeyMax + 1>, kDepthMax> seen_;
};

}  // namespace

void MapWriter::key(int k) {
    FR_ASSERT(k > last_key_ && k <= kKeyMax);
    last_key_ = k;
    ++count_;
    fields_.push_back(static_cast<std::byte>(k));  // 0..127 are their own encoding
}

MapWriter& MapWriter::put(int k, std::uint64_t value) {
    key(k);
    append(fields_, [&](auto& packer) { packer.pack_uint64(value); });
    return *this;
}

MapWriter& MapWriter::put_signed(int k, std::int64_t value) {
    key(k);
    append(fields_, [&](auto& packer) { packer.pack_int64(value); });
    return *this;
}

MapWriter& MapWriter::put_bool(int k, bool value) {
    key(k);
    append(fields_, [&](auto& packer) { value ? packer.pack_true() : packer.pack_false(); });
    return *this;
}

MapWriter& MapWriter::put(int k, std::string_view text) {
    key(k);
    append(fields_, [&](auto& packer) {
        packer.pack_str(static_cast<std::uint32_t>(text.size()));
        packer.pack_str_body(text.data(), static_cast<std::uint32_t>(text.size()));
    });
    return *this;
}

MapWriter& MapWriter::put_bytes(int k, ByteView bytes) {
    key(k);
    append(fields_, [&](auto& packer) {
        packer.pack_bin(static_cast<std::uint32_t>(bytes.size()));
        packer.pack_bin_body(as_text(bytes).data(), static_cast<std::uint32_t>(bytes.size()));
    });
    return *this;
}

MapWriter& MapWriter::put(int k, const NodeId& id) {
    return put_bytes(k, id.bytes);
}

MapWriter& MapWriter::put(int k, const Digest& digest) {
    std::array<std::byte, 65> packed{};
    packed[0] = static_cast<std::byte>(digest.alg);
    const ByteView value = digest.bytes();
    std::copy(value.begin(), value.end(), packed.begin() + 1);
    return put_bytes(k, ByteView(packed).first(1 + value.size()));
}

MapWriter& MapWriter::put(int k, const Endpoint& endpoint) {
    if (endpoint.empty()) return *this;
    return put(k, std::string_view(endpoint.str()));
}

MapWriter& MapWriter::put(int k, const MapWriter& map) {
    key(k);
    append_map(fields_, map.count_, map.fields_);
    return *this;
}

MapWriter& MapWriter::put_maps(int k, const std::vector<MapWriter>& maps) {
    key(k);
    append(fields_, [&](auto& packer) { packer.pack_array(static_cast<std::uint32_t>(maps.size())); });
    for (const auto& map : maps) append_map(fields_, map.count_, map.fields_);
    return *this;
}

MapWriter& MapWriter::put_numbers(int k, const std::vector<std::uint64_t>& numbers) {
    key(k);
    append(fields_, [&](auto& packer) {
        packer.pack_array(static_cast<std::uint32_t>(numbers.size()));
        for (std::uint64_t number : numbers) packer.pack_uint64(number);
    });
    return *this;
}

Bytes MapWriter::finish() const {
    Bytes out;
    out.reserve(fields_.size() + 5);
    append_map(out, count_, fields_);
    return out;
}

/// One map of the tree. Readers of inner maps share the tree of the outermost one.
struct MapReader::Impl {
    std::shared_ptr<const std::vector<Node>> tree;
    std::uint32_t at = 0;  // the map's own node
    std::string error;
    Bytes kept;  // when the caller gave its bytes away

    [[nodiscard]] const Node* find(int key) const {
        const auto& nodes = *tree;
        const std::uint32_t end = nodes[at].next;
        for (std::uint32_t i = at + 1; i < end; i = nodes[i].next) {
            if (nodes[i].key == key) return &nodes[i];
        }
        return nullptr;
    }
    /// The value when it is there and of that kind; a wrong kind marks the message.
    [[nodiscard]] const Node* find(int key, Kind kind, const char* name) {
        const Node* node = find(key);
        if (node == nullptr || node->kind == kind) return node;
        reject_field(key, std::string("is no ") + name);
        return nullptr;
    }
    void reject_field(int key, std::string_view why) {
        if (error.empty()) error = "field " + std::to_string(key) + " " + std::string(why);
    }
    void adopt(int key, const Impl& inner) {
        if (!inner.error.empty()) reject_field(key, ": " + inner.error);
    }
};

MapReader::MapReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MapReader::~MapReader() = default;
MapReader::MapReader(MapReader&&) noexcept = default;
MapReader& MapReader::operator=(MapReader&&) noexcept = default;

Result<MapReader> MapReader::parse(ByteView body) {
    const auto complain = [](std::string_view why) {
        return fail(Errc::protocol, "message body " + std::string(why));
    };
    TreeBuilder builder(body.size());
    std::size_t offset = 0;
    try {
        if (!msgpack::parse(as_text(body).data(), body.size(), offset, builder)) {
            return complain(builder.why);
        }
    } catch (const std::exception& e) {  // the parser's own limits, or no memory
        return complain(e.what());
    }
    if (offset != body.size()) return complain("has bytes after its end");
    auto impl = std::make_unique<Impl>();
    impl->tree = std::make_shared<const std::vector<Node>>(std::move(builder.nodes));
    return MapReader(std::move(impl));
}

Result<MapReader> MapReader::parse(Bytes&& body) {
    FR_TRY_ASSIGN(MapReader reader, parse(ByteView(body)));
    reader.impl_->kept = std::move(body);  // moving a vector does not move its bytes
    return reader;
}

bool MapReader::has(int key) const {
    return impl_->find(key) != nullptr;
}

std::uint64_t MapReader::number(int key, std::uint64_t fallback, std::uint64_t max) {
    const Node* node = impl_->find(key, Kind::number, "non-negative number");
    if (node == nullptr) return fallback;
    if (node->number > max) {
        impl_->reject_field(key, "is over its limit of " + std::to_string(max));
        return fallback;
    }
    return node->number;
}

std::int64_t MapReader::signed_number(int key, std::int64_t fallback) {
    const Node* node = impl_->find(key);
    if (node == nullptr) return fallback;
    const bool fits = node->kind == Kind::negative ||
                      (node->kind == Kind::number && node->number <= INT64_MAX);
    if (fits) return static_cast<std::int64_t>(node->number);
    impl_->reject_field(key, "is no signed number");
    return fallback;
}

bool MapReader::boolean(int key, bool fallback) {
    const Node* node = impl_->find(key, Kind::boolean, "boolean");
    return node == nullptr ? fallback : node->number != 0;
}

std::string_view MapReader::text(int key, std::size_t max_size) {
    const Node* node = impl_->find(key, Kind::text, "text");
    if (node == nullptr) return {};
    if (node->count > max_size) {
        impl_->reject_field(key, "is longer than " + std::to_string(max_size) + " bytes");
        return {};
    }
    return {node->data, node->count};
}

ByteView MapReader::bytes(int key, std::size_t max_size) {
    const Node* node = impl_->find(key, Kind::bytes, "byte string");
    if (node == nullptr) return {};
    if (node->count > max_size) {
        impl_->reject_field(key, "is longer than " + std::to_string(max_size) + " bytes");
        return {};
    }
    return as_bytes({node->data, node->count});
}

NodeId MapReader::node_id(int key) {
    NodeId id;
    if (!has(key)) return id;
    const ByteView raw = bytes(key, id.bytes.size());
    if (raw.size() != id.bytes.size()) {
        impl_->reject_field(key, "is no node id of 16 bytes");
        return id;
    }
    std::copy(raw.begin(), raw.end(), id.bytes.begin());
    return id;
}

Digest MapReader::digest(int key) {
    if (!has(key)) return {};
    const ByteView raw = bytes(key, 65);
    if (!raw.empty()) {
        auto digest = Digest::from_bytes(static_cast<HashAlg>(raw[0]), raw.subspan(1));
        if (digest) return *digest;
    }
    impl_->reject_field(key, "is no digest");
    return {};
}

Endpoint MapReader::endpoint(int key) {
    if (!has(key)) return {};
    auto endpoint = Endpoint::parse(text(key, kEndpointTextMax));
    if (endpoint) return *std::move(endpoint);
    impl_->reject_field(key, "is no address of a host and a port");
    return {};
}

void MapReader::list(int key, std::size_t max, const std::function<void(MapReader&)>& each) {
    const Node* list = impl_->find(key, Kind::list, "list");
    if (list == nullptr) return;
    if (list->count > max) {
        impl_->reject_field(key, "has more than " + std::to_string(max) + " items");
        return;
    }
    const auto& nodes = *impl_->tree;
    MapReader inner(std::make_unique<Impl>());
    inner.impl_->tree = impl_->tree;
    for (auto i = static_cast<std::uint32_t>(list - nodes.data()) + 1; i < list->next;
         i = nodes[i].next) {
        if (nodes[i].kind != Kind::map) {
            impl_->reject_field(key, "has an item that is no map");
            return;
        }
        inner.impl_->at = i;
        each(inner);
    }
    impl_->adopt(key, *inner.impl_);
}

void MapReader::map(int key, const std::function<void(MapReader&)>& inner_reader) {
    const Node* node = impl_->find(key, Kind::map, "map");
    if (node == nullptr) return;
    MapReader inner(std::make_unique<Impl>());
    inner.impl_->tree = impl_->tree;
    inner.impl_->at = static_cast<std::uint32_t>(node - impl_->tree->data());
    inner_reader(inner);
    impl_->adopt(key, *inner.impl_);
}

std::vector<std::uint64_t> MapReader::numbers(int key, std::size_t max) {
    const Node* list = impl_->find(key, Kind::list, "list");
    if (list == nullptr) return {};
    if (list->count > max) {
        impl_->reject_field(key, "has more than " + std::to_string(max) + " items");
        return {};
    }
    std::vector<std::uint64_t> numbers;
    numbers.reserve(list->count);  // no larger than the items that were parsed
    for (const Node* item = list + 1; item != impl_->tree->data() + list->next; ++item) {
        if (item->kind != Kind::number) {
            impl_->reject_field(key, "has an item that is no number");
            return {};
        }
        numbers.push_back(item->number);
    }
    return numbers;
}

void MapReader::reject(std::string_view why) {
    if (impl_->error.empty()) impl_->error = why;
}

void MapReader::require(int key) {
    if (!has(key)) impl_->reject_field(key, "is missing");
}

Status MapReader::status() const {
    if (impl_->error.empty()) return {};
    return fail(Errc::protocol, "message " + impl_->error);
}

}  // namespace fastreg::wire
