// Whether Docker, containerd and podman on this machine know the node. Their files are read leniently: what
// matters is whether the node's address stands in them. Part of `fastreg doctor`; blocking, main thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/endpoint.h"
#include "node/doctor.h"

namespace fastreg::node {

/// What is in the places that the three read; nothing where there is no such file.
struct ClientFiles {
    std::optional<std::string> docker;    // /etc/docker/daemon.json
    std::vector<std::string> containerd;  // names of the folders in /etc/containerd/certs.d, and their hosts.toml
    std::vector<std::string> podman;      // of /etc/containers/registries.conf.d
};

/// `root` is put before every path, so that tests look at a machine of their own.
[[nodiscard]] ClientFiles look_at_clients(const std::string& root = {});
/// `http`: where the node's registry listens.
[[nodiscard]] std::vector<Finding> judge_clients(const ClientFiles& files, const Endpoint& http);
/// Whether HOST:PORT of this machine, with that port, stands in the text; behind # is not read.
[[nodiscard]] bool names_node(std::string_view text, const Endpoint& http);

}  // namespace fastreg::node
