#include "node/service_reply.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rare_line.h"

namespace fastreg::node {

namespace r = registry;

void keep_for_operator(const Error& error) {
    static RareLine said;
    const std::string why = describe(error);
    if (why == describe_outside(error)) return;
    if (const auto unsaid = said.pass(monotonic_now())) {
        log::warn("request.failed", {{"why", why}, {"repeats", *unsaid}});
    }
}

r::Answer refusal(const Error& error, r::ErrorCode missing) {
    keep_for_operator(error);
    return r::error_answer(r::from_error(error, missing));
}

r::Answer cannot_send(const Error& error) {
    if (error.code == Errc::no_space) return refusal(error, r::ErrorCode::unavailable);
    keep_for_operator(error);
    auto late = r::make_error(r::ErrorCode::unavailable, describe_outside(error));
    late.retry_after_s = 1;
    return r::error_answer(late);
}

}  // namespace fastreg::node
