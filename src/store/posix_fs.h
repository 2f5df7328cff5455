// Fs on the file system of the machine. Any thread.
#pragma once

#include "store/fs.h"

namespace fastreg::store {

/// What an errno of a file operation means to the store.
[[nodiscard]] Errc errc_of_errno(int os_errno);

class PosixFs final : public Fs {
  public:
    [[nodiscard]] Result<std::unique_ptr<File>> open(const std::string& path,
                                                     OpenMode mode) override;
    Status rename(const std::string& from, const std::string& to) override;
    Status fsync_dir(const std::string& path) override;
    Status unlink(const std::string& path) override;
    Status mkdirs(const std::string& path) override;
    [[nodiscard]] Result<std::vector<DirEntry>> list(const std::string& path) override;
    [[nodiscard]] Result<FileInfo> stat(const std::string& path) override;
    [[nodiscard]] Result<std::uint64_t> free_space(const std::string& path) override;
    [[nodiscard]] Result<std::unique_ptr<FileLock>> lock(const std::string& path) override;
};

}  // namespace fastreg::store
