#include "node/doctor_clients.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "uv/socket.h"

namespace fastreg::node {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFilesMax = 1000;
constexpr std::size_t kTextMax = 1U << 20U;

std::optional<std::string> text_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return std::nullopt;
    std::string text(kTextMax, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(in.gcount(), 0)));
    return text;
}

std::vector<fs::path> paths_in(const fs::path& folder) {
    std::vector<fs::path> paths;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
        if (paths.size() < kFilesMax) paths.push_back(at->path());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
}

bool is_of_this_machine(const std::string& host, const Endpoint& http) {
    if (host == "localhost" || host == http.host || uv::is_loopback({host, 0})) return true;
    std::array<char, 256> name{};
    if (::gethostname(name.data(), name.size() - 1) == 0 && host == name.data()) return true;
    return !interface_of(host, own_addresses()).empty();
}

/// What a person types in front of an image's name on this machine.
std::string local_name(const Endpoint& http) {
    return "127.0.0.1:" + std::to_string(http.port);
}

Finding judge_docker(const std::optional<std::string>& text, const Endpoint& http) {
    Finding found{Verdict::ok, "Docker", "", ""};
    const std::string by_itself = "pulls from " + local_name(http) + " work without any setting";
    if (!text) {
        found.seen = "absent: no /etc/docker/daemon.json; " + by_itself;
    } else if (!nlohmann::json::accept(*text)) {
        found.verdict = Verdict::warn;
        found.seen = "/etc/docker/daemon.json is no JSON";
        found.advice = "mend it: dockerd does not start with it";
    } else if (names_node(*text, http)) {
        found.seen = "/etc/docker/daemon.json names this node";
    } else {
        found.seen = "absent: /etc/docker/daemon.json does not name this node; " + by_itself;
    }
    return found;
}

Finding judge_texts(std::string what,
                    const std::string& place,
                    const std::string& example,
                    const std::vector<std::string>& texts,
                    const Endpoint& http) {
    const bool named = std::ranges::any_of(texts, [&](const std::string& text) { return names_node(text, http); });
    if (named) return {Verdict::ok, std::move(what), place + " names this node", ""};
    return {Verdict::ok,
            std::move(what),
            "absent: " + (texts.empty() ? "nothing in " + place : place + " does not name this node"),
            "to pull from it: " + example};
}

}  // namespace

ClientFiles look_at_clients(const std::string& root) {
    ClientFiles files;
    files.docker = text_of(root + "/etc/docker/daemon.json");
    for (const fs::path& folder : paths_in(root + "/etc/containerd/certs.d")) {
        files.containerd.push_back(folder.filename().string() + "\n" + text_of(folder / "hosts.toml").value_or(""));
    }
    for (const fs::path& file : paths_in(root + "/etc/containers/registries.conf.d")) {
        if (file.extension() != ".conf") continue;
        if (auto text = text_of(file)) files.podman.push_back(*std::move(text));
    }
    return files;
}

bool names_node(std::string_view text, const Endpoint& http) {
    std::istringstream in{std::string(text)};
    for (std::string line; std::getline(in, line);) {
        line.resize(std::min(line.size(), line.find('#')));
        // Words are cut at quotes, slashes and the like: http://127.0.0.1:8080/ becomes http: and 127.0.0.1:8080.
        constexpr std::string_view kOfAName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
        for (std::size_t at = 0; at < line.size();) {
            const auto begin = line.find_first_of(kOfAName, at);
            if (begin == std::string::npos) break;
            at = std::min(line.size(), line.find_first_not_of(kOfAName, begin));
            const std::string word = line.substr(begin, at - begin);
            if (word.front() == ':') continue;  // a number behind a colon
            const auto endpoint = Endpoint::parse(word);
            if (endpoint && endpoint->port == http.port && is_of_this_machine(endpoint->host, http)) return true;
        }
    }
    return false;
}

std::vector<Finding> judge_clients(const ClientFiles& files, const Endpoint& http) {
    if (http.port == 0) return {};  // another one at each start: nobody can be set to use it
    return {
        judge_docker(files.docker, http),
        judge_texts("containerd", "/etc/containerd/certs.d", "configs/containerd-hosts.toml", files.containerd, http),
        judge_texts(
            "podman", "/etc/containers/registries.conf.d", "configs/podman-registries.conf", files.podman, http)};
}

}  // namespace fastreg::node
