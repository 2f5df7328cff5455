#include "node/data_dir.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace fastreg::node {
namespace {

Status not_writable(const std::string& path, int reason) {
    const std::string advice =
        reason == EROFS ? "its file system is mounted read-only: mount it for writing, or name another directory "
                          "with --data-dir"
                        : "give it to the user that runs fastreg (chown), or name another directory with --data-dir";
    return fail(Errc::permission_denied, "the data directory " + path + " is not writable; " + advice, reason);
}

}  // namespace

Status prepare_data_dir(const std::string& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    const int reason = error.value();
    if (reason == EROFS || reason == EACCES || reason == EPERM) return not_writable(path, reason);
    if (reason == ENOSPC || reason == EDQUOT) {
        return fail(Errc::no_space, "the directory cannot be made", reason);
    }
    std::error_code ignored;
    if (error || !std::filesystem::is_directory(path, ignored)) {
        return fail(Errc::io,
                    "the data directory " + path +
                        " cannot be made; it or a part of its path is no directory: name another one with --data-dir",
                    error ? reason : ENOTDIR);
    }
    if (::access(path.c_str(), W_OK | X_OK) != 0) return not_writable(path, errno);
    return {};
}

Error explain_full(const std::string& path, Error error) {
    if (error.code != Errc::no_space && error.os_errno != ENOSPC && error.os_errno != EDQUOT) return error;
    return {Errc::no_space, 0,
            "the file system of the data directory " + path +
                " is full: free some space on it, or name another directory with --data-dir (" +
                describe(error) + ")"};
}

}  // namespace fastreg::node
