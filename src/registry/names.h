// The grammar of repository names, tags and references (OCI distribution, "Pulling manifests").
// Pure; any thread. What passes here is safe to print and to make a row key of, never a path.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "base/digest.h"
#include "registry/errors.h"

namespace fastreg::registry {

inline constexpr std::size_t kMaxRepositoryLength = 255;
inline constexpr std::size_t kMaxTagLength = 128;

/// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* joined by '/', at most 255 characters.
[[nodiscard]] bool is_repository(std::string_view text);
/// [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
[[nodiscard]] bool is_tag(std::string_view text);
/// A first path component that names a registry: contains '.' or ':', or is "localhost"; letters,
/// digits, '-', '.', and a port. A repository of ours may contain a dot too ("my.app"), but not as
/// the first of several components.
[[nodiscard]] bool is_registry_host(std::string_view component);

/// Where a request points. `registry` is empty for names of the mesh itself; otherwise the host
/// that prefixed the path. `ns` is the value of `?ns=`, as sent by containerd.
struct Name {
    std::string registry;
    std::string repository;
    std::string ns;
    auto operator<=>(const Name&) const = default;
};

/// Splits an optional registry host from the path part between "/v2/" and the verb.
[[nodiscard]] ApiResult<Name> parse_name(std::string_view path, std::string_view ns = {});

using Reference = std::variant<std::string, Digest>;  // a tag or a digest
[[nodiscard]] ApiResult<Reference> parse_reference(std::string_view text);
[[nodiscard]] std::string str(const Reference& reference);
/// The digest of a reference, when it is one.
[[nodiscard]] inline const Digest* digest_of(const Reference& reference) {
    return std::get_if<Digest>(&reference);
}

}  // namespace fastreg::registry
