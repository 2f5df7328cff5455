// Message bodies: a msgpack map with small integer keys, as bytes and back. Unknown keys are skipped.
// Hostile input expected: depth <= 8, no ext types, no count larger than the bytes behind it, nothing
// allocated before the bytes are there. Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/endpoint.h"
#include "base/ids.h"
#include "base/result.h"

namespace fastreg::wire {

/// Builds one map. Keys are given in ascending order, each at most once, 0..127.
class MapWriter {
  public:
    MapWriter& put(int key, std::uint64_t value);
    MapWriter& put_signed(int key, std::int64_t value);
    MapWriter& put_bool(int key, bool value);
    MapWriter& put(int key, std::string_view text);
    MapWriter& put_bytes(int key, ByteView bytes);
    MapWriter& put(int key, const NodeId& id);        // 16 bytes
    MapWriter& put(int key, const Digest& digest);    // algorithm byte, then the hash value
    MapWriter& put(int key, const Endpoint& endpoint);  // "host:port"; left out when empty
    MapWriter& put(int key, const MapWriter& map);    // nested map
    /// An array of maps, one per item: `fill(MapWriter&, item)`.
    template <class Items, class Fill>
    MapWriter& put_list(int key, const Items& items, Fill fill) {
        std::vector<MapWriter> maps;
        maps.reserve(items.size());
        for (const auto& item : items) fill(maps.emplace_back(), item);
        return put_maps(key, maps);
    }
    MapWriter& put_maps(int key, const std::vector<MapWriter>& maps);
    /// An array of unsigned numbers.
    MapWriter& put_numbers(int key, const std::vector<std::uint64_t>& numbers);

    /// The finished map.
    [[nodiscard]] Bytes finish() const;

  private:
    void key(int k);
    Bytes fields_;
    std::uint32_t count_ = 0;
    int last_key_ = -1;
};

/// Reads one map. Getters return a default for an absent key and remember the first wrong type or
/// limit; look at status() once, at the end.
class MapReader {
  public:
    /// Parses the whole span; trailing bytes are an error. The span must outlive the reader.
    [[nodiscard]] static Result<MapReader> parse(ByteView body);
    /// The same for bytes that the reader keeps itself.
    [[nodiscard]] static Result<MapReader> parse(Bytes&& body);
    ~MapReader();
    MapReader(MapReader&&) noexcept;
    MapReader& operator=(MapReader&&) noexcept;

    [[nodiscard]] bool has(int key) const;
    [[nodiscard]] std::uint64_t number(int key, std::uint64_t fallback = 0,
                                       std::uint64_t max = UINT64_MAX);
    [[nodiscard]] std::int64_t signed_number(int key, std::int64_t fallback = 0);
    [[nodiscard]] bool boolean(int key, bool fallback = false);
    /// Valid while this reader lives.
    [[nodiscard]] std::string_view text(int key, std::size_t max_size);
    [[nodiscard]] ByteView bytes(int key, std::size_t max_size);
    [[nodiscard]] NodeId node_id(int key);
    [[nodiscard]] Digest digest(int key);
    [[nodiscard]] Endpoint endpoint(int key);
    /// Calls `each` for every map of the array; more than `max` is an error.
    void list(int key, std::size_t max, const std::function<void(MapReader&)>& each);
    void map(int key, const std::function<void(MapReader&)>& inner);
    [[nodiscard]] std::vector<std::uint64_t> numbers(int key, std::size_t max);

    /// Marks the message as wrong; for checks of the caller. The first one stays.
    void reject(std::string_view why);
    /// Marks the message as wrong when the key is absent.
    void require(int key);
    [[nodiscard]] Status status() const;

  private:
    struct Impl;
    explicit MapReader(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg::wire
