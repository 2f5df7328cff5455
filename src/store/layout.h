// Where things are in the data directory. Paths are made of digests only, never of names that somebody
// sent. A value; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"

namespace fastreg::store {

class Layout {
  public:
    explicit Layout(std::string dir);

    [[nodiscard]] const std::string& dir() const { return dir_; }
    [[nodiscard]] std::string lock() const { return dir_ + "/lock"; }
    /// There while a process runs; left behind by an unclean stop.
    [[nodiscard]] std::string running() const { return dir_ + "/running"; }
    [[nodiscard]] std::string meta_db() const { return dir_ + "/meta.db"; }
    [[nodiscard]] std::string meta_backup() const { return dir_ + "/meta.db.bak"; }
    /// There while rows are restored, until files whose rows are lost are marked as such.
    [[nodiscard]] std::string meta_restored() const { return dir_ + "/meta.restored"; }
    [[nodiscard]] std::string cache_db() const { return dir_ + "/cache.db"; }
    [[nodiscard]] std::string node_id() const { return dir_ + "/node_id"; }

    [[nodiscard]] std::string blobs() const { return dir_ + "/blobs"; }
    [[nodiscard]] std::string blobs(HashAlg alg) const;
    /// The directory of blobs whose hex begins with these two digits.
    [[nodiscard]] std::string shelf(HashAlg alg, unsigned first_byte) const;
    [[nodiscard]] std::string shelf(const Digest& digest) const;
    [[nodiscard]] std::string blob(const Digest& digest) const;

    [[nodiscard]] std::string partials() const { return dir_ + "/partial"; }
    [[nodiscard]] std::string partial(const Digest& digest) const;
    /// "upload-", "aside-" and the like with random hex behind; wiped at every start.
    [[nodiscard]] std::string temporary(std::string_view kind, std::string_view hex) const;

    /// What a file in partials() is the beginning of; nothing for a temporary or a stranger.
    [[nodiscard]] static std::optional<Digest> parse_partial(std::string_view name);

  private:
    std::string dir_;
};

}  // namespace fastreg::store
