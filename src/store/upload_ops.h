// What the store does to uploads on their lanes and on the loop thread.
#pragma once

#include "store/free_space.h"
#include "store/upload.h"

namespace fastreg::store {

class UploadOps {
  public:
    [[nodiscard]] static const std::string& path(const UploadFile& upload) { return upload.path_; }
    [[nodiscard]] static std::uint64_t lane(const UploadFile& upload) { return upload.lane_; }

    // On its lane.
    /// Writes and hashes the next bytes, if `free_space` has room for them; after an error every later
    /// call answers with it.
    static Status append(FreeSpace& free_space, UploadFile& upload, ByteView data, std::uint64_t min_free);
    /// The digest of all of it in the algorithm of `expected`; Errc::corrupt when it differs.
    [[nodiscard]] static Result<ChainBuilder::Result> hash(UploadFile& upload, const Digest& expected);

    // On the loop thread.
    /// Why nothing more may be done with it, if so.
    static Status usable(const UploadFile& upload);
    static void queued(UploadFile& upload, std::uint64_t bytes) { upload.queued_ += bytes; }
    static void written(UploadFile& upload, std::uint64_t bytes) { upload.written_ += bytes; }
    /// False when it was refused before.
    static bool refuse(UploadFile& upload, const Error& why) {
        if (upload.refused_) return false;
        upload.refused_ = why;
        return true;
    }
    static void set_committing(UploadFile& upload, bool on) { upload.committing_ = on; }
    static void close(UploadFile& upload) { upload.closed_ = true; }
};

}  // namespace fastreg::store
