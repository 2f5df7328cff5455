// Bytes of a client (or of the origin) on their way to become a blob, in order and hashed once.
// Made by the loop thread through Store.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/chain.h"
#include "store/fs.h"

namespace fastreg::store {

class UploadFile {
  public:
    UploadFile(std::string path, std::uint64_t lane, std::shared_ptr<File> file, HashAlg alg);

    /// Loop thread. Bytes that are written; what a client may be told has arrived.
    [[nodiscard]] std::uint64_t size() const { return written_; }
    /// Loop thread. Bytes handed to append(), written or not.
    [[nodiscard]] std::uint64_t queued() const { return queued_; }
    /// Loop thread. Committed or aborted.
    [[nodiscard]] bool closed() const { return closed_; }
    /// Any thread; for streaming bytes on while they arrive (up to size()).
    [[nodiscard]] const std::shared_ptr<File>& file() const { return file_; }

  private:
    friend class UploadOps;

    const std::string path_;
    const std::uint64_t lane_;
    std::shared_ptr<File> file_;
    // The loop thread's own.
    std::uint64_t written_ = 0;
    std::uint64_t queued_ = 0;
    bool closed_ = false;
    bool committing_ = false;
    std::optional<Error> refused_;  // an append was turned away: what follows would leave a hole
    // The lane's own.
    std::optional<ChainBuilder> builder_;
    std::optional<ChainBuilder::Result> hashed_;
    std::optional<Error> failed_;
    std::uint64_t hashed_bytes_ = 0;
    std::uint64_t unsynced_bytes_ = 0;
};

}  // namespace fastreg::store
