#include "base/result.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fastreg {

std::string_view name_of(Errc code) {
    switch (code) {
        case Errc::invalid_argument: return "invalid_argument";
        case Errc::not_found: return "not_found";
        case Errc::already_exists: return "already_exists";
        case Errc::permission_denied: return "permission_denied";
        case Errc::out_of_range: return "out_of_range";
        case Errc::too_large: return "too_large";
        case Errc::corrupt: return "corrupt";
        case Errc::no_space: return "no_space";
        case Errc::io: return "io";
        case Errc::network: return "network";
        case Errc::timeout: return "timeout";
        case Errc::unavailable: return "unavailable";
        case Errc::busy: return "busy";
        case Errc::unsupported: return "unsupported";
        case Errc::protocol: return "protocol";
        case Errc::cancelled: return "cancelled";
        case Errc::internal: return "internal";
    }
    return "internal";
}

std::string describe(const Error& error) {
    if (error.os_errno == 0) return error.what;
    return error.what + ": " + std::strerror(error.os_errno);
}

std::string describe_outside(const Error& error) {
    switch (error.code) {
        case Errc::network:
        case Errc::timeout:
        case Errc::unavailable:
        case Errc::protocol: return describe(error);  // names addresses at most
        default: break;
    }
    if (error.os_errno == 0) return error.what;
    return std::string("this node cannot use its disk: ") + std::strerror(error.os_errno);
}

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "fastreg: assertion failed: %s (%s:%d)\n", expression, file, line);
    std::abort();
}

}  // namespace fastreg
