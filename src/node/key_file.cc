#include "node/key_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/bytes.h"
#include "config/key_file.h"

namespace fastreg::node {
namespace {

// A file descriptor that closes itself.
class Fd {
  public:
    explicit Fd(int fd) : fd_(fd) {}
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() {
        if (fd_ >= 0) ::close(fd_);
    }
    [[nodiscard]] int get() const { return fd_; }

  private:
    int fd_;
};

Result<std::string> fresh_key() {
    std::array<std::byte, 32> secret{};
    if (::getrandom(secret.data(), secret.size(), 0) != static_cast<ssize_t>(secret.size())) {
        return fail(Errc::io, "reading random bytes for a new cluster key", errno);
    }
    return to_hex(secret);
}

Status write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail(errno == ENOSPC ? Errc::no_space : Errc::io, "writing", errno);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

// The whole file appears at once or not at all: a key cut short by a crash would lock the node out.
Status write_key(const std::string& path, const std::string& key) {
    const std::string temporary = path + ".new";
    ::unlink(temporary.c_str());
    {
        const Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (file.get() < 0) {
            return fail(errno == EACCES || errno == EROFS ? Errc::permission_denied : Errc::io,
                        "making the cluster key " + path +
                            "; the data directory must be writable for this user",
                        errno);
        }
        auto written = write_all(file.get(), key + "\n");
        if (written && ::fsync(file.get()) != 0) written = fail(Errc::io, "syncing", errno);
        if (!written) {
            ::unlink(temporary.c_str());
            return fail(written.error().code, "writing the cluster key " + path,
                        written.error().os_errno);
        }
    }
    // link() and not rename(): a key that somebody put there meanwhile is never replaced.
    const int linked = ::link(temporary.c_str(), path.c_str());
    const int reason = errno;
    ::unlink(temporary.c_str());
    if (linked != 0 && reason != EEXIST) {
        return fail(Errc::io, "putting the cluster key in place at " + path, reason);
    }
    return {};
}

}  // namespace

Result<std::string> load_key(const config::Config& config) {
    const std::string& path = config.cluster_key_file;
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return fail(Errc::not_found, "there is no cluster key at " + path);
        }
        return fail(errno == EACCES ? Errc::permission_denied : Errc::io,
                    "reading the cluster key " + path, errno);
    }
    std::string content(config::kKeyBytesMax * 2, '\0');
    std::size_t length = 0;
    while (length < content.size()) {
        const ssize_t n = ::read(file.get(), content.data() + length, content.size() - length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(Errc::io, "reading the cluster key " + path, errno);
        if (n == 0) break;
        length += static_cast<std::size_t>(n);
    }
    auto key = config::parse_key(std::string_view(content).substr(0, length));
    if (!key) return fail(key.error().code, "the cluster key file " + path + " " + key.error().what);
    return key;
}

Result<std::string> load_or_make_key(const config::Config& config) {
    auto key = load_key(config);
    if (key || key.error().code != Errc::not_found) return key;
    if (config.insecure_mesh) return std::string();
    if (!config.join.empty()) {
        return fail(Errc::not_found,
                    "there is no cluster key at " + config.cluster_key_file +
                        ", and joining a mesh needs the key of that mesh: copy it from a member "
                        "(`fastreg key show` there), or run with --insecure-mesh");
    }
    // A mistyped path must not become a mesh of its own.
    if (config.cluster_key_file != config.default_key_file()) {
        return fail(Errc::not_found,
                    "there is no cluster key at " + config.cluster_key_file +
                        ", which cluster-key-file names: copy the key of the mesh to it (`fastreg key show` on a "
                        "member), or leave cluster-key-file out and the first node makes " +
                        config.default_key_file());
    }
    FR_TRY_ASSIGN(const std::string fresh, fresh_key());
    FR_TRY(write_key(config.cluster_key_file, fresh));
    return load_key(config);
}

}  // namespace fastreg::node
