#include "cli/sources.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace fastreg::cli {
namespace {

constexpr std::size_t kConfigBytesMax = 4 << 20;

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::string host_name() {
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) != 0) return {};
    return name.data();
}

}  // namespace

std::string working_dir() {
    std::array<char, 4096> path{};
    // Outside of this process's root the kernel puts "(unreachable)" in front.
    if (::getcwd(path.data(), path.size()) == nullptr || path[0] != '/') return {};
    return path.data();
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                               std::fclose);
    if (!file) {
        return fail(errno == ENOENT ? Errc::not_found : Errc::io, "reading " + path, errno);
    }
    std::string text;
    std::array<char, 8192> block;
    std::size_t n = 0;
    while ((n = std::fread(block.data(), 1, block.size(), file.get())) > 0) {
        text.append(block.data(), n);
        if (text.size() > limit) return fail(Errc::too_large, path + " is too large");
    }
    if (std::ferror(file.get()) != 0) return fail(Errc::io, "reading " + path, errno);
    return text;
}

Result<config::Sources> gather(const Invocation& invocation) {
    config::Sources sources;
    std::string path = invocation.config_file.value_or(variable("FASTREG_CONFIG"));
    const bool named = !path.empty();
    if (!named) path = kDefaultConfigFile;
    auto text = read_file(path, kConfigBytesMax);
    if (text) {
        sources.file_name = path;
        sources.file_text = *std::move(text);
    } else if (named || text.error().code != Errc::not_found) {
        return fail(text.error().code, "the configuration: " + text.error().what,
                    text.error().os_errno);
    }
    for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
        const std::string_view entry = *at;
        const auto equals = entry.find('=');
        if (equals == std::string_view::npos || !entry.starts_with("FASTREG_")) continue;
        sources.environment.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
    }
    sources.flags = invocation.settings;
    sources.machine = {::geteuid() == 0, host_name(), variable("HOME"), variable("XDG_DATA_HOME"),
                       working_dir()};
    return sources;
}

}  // namespace fastreg::cli
