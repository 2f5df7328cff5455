// How the steps of the service answer. For the files of the service and the front alone. Loop thread only.
#pragma once

#include <string>
#include <utility>

#include "node/service.h"
#include "registry/answers.h"
#include "registry/errors.h"

namespace fastreg::node {

/// Rows read at a time where all of a prefix are wanted.
inline constexpr std::size_t kRowsPage = 1000;

inline void say(const OnAnswer& answer, registry::Answer what) {
    answer(ServiceAnswer{std::move(what)});
}

[[nodiscard]] inline registry::Answer refusal(registry::ErrorCode code, std::string message) {
    return registry::error_answer(registry::make_error(code, std::move(message)));
}
/// Logs what an answer does not say of an error, since the client is not to know the names of files.
void keep_for_operator(const Error& error);
/// `missing` is the code for Errc::not_found.
[[nodiscard]] registry::Answer refusal(const Error& error, registry::ErrorCode missing);
/// For a blob or manifest that a repository links and this node cannot give now: it is not unknown and no fault
/// of who asks, so it is 503, or 507 when there is no room for it.
[[nodiscard]] registry::Answer cannot_send(const Error& error);

}  // namespace fastreg::node
