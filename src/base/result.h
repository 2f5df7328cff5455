// How every function of FastReg says that it failed. No exceptions cross a room's wall.
// Values only; any thread.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace fastreg {

/// The closed list of reasons. A caller may branch on these; people read `Error::what`.
enum class Errc {
    invalid_argument,   // the caller's input is malformed
    not_found,          // what was asked for is not here
    already_exists,     // the thing to be made is there
    permission_denied,  // the operating system or the cluster key says no
    out_of_range,       // a limit or a range was left
    too_large,          // over a documented limit
    corrupt,            // bytes do not have the digest, link or checksum they claim
    no_space,           // ENOSPC, EDQUOT or the store's own limit
    io,                 // any other error of the disk
    network,            // any error of a socket
    timeout,            // no progress within the deadline
    unavailable,        // too few members reachable; try again
    busy,               // in use by another; try again
    unsupported,        // known, and deliberately not done
    protocol,           // a peer or a client broke the protocol
    cancelled,          // given up by who asked
    internal,           // a defect of FastReg
};

[[nodiscard]] std::string_view name_of(Errc code);

/// What went wrong: the code, errno where there is one, and a sentence that says what was being done,
/// to what, and what the reader can do about it.
struct Error {
    Errc code = Errc::internal;
    int os_errno = 0;
    std::string what;
};

/// The sentence with the system's own words behind it, for a log line or a terminal.
[[nodiscard]] std::string describe(const Error& error);
/// The same for who is not this machine's operator, a client or another node: what the disk said, without the
/// names of its files. An error that names a file has an errno, but for those
/// that end a start.
[[nodiscard]] std::string describe_outside(const Error& error);

/// A value or an Error; a type of its own so that no answer is dropped unread.
template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
  public:
    using tl::expected<T, Error>::expected;
};
using Status = Result<void>;

[[nodiscard]] inline tl::unexpected<Error> fail(Errc code, std::string what, int os_errno = 0) {
    return tl::unexpected<Error>(Error{code, os_errno, std::move(what)});
}

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace fastreg

/// Stays on in release builds. Never for input from the network, the disk or a user.
#define FR_ASSERT(condition)                                                      \
    do {                                                                          \
        if (!(condition)) ::fastreg::assertion_failed(#condition, __FILE__, __LINE__); \
    } while (0)

#define FR_CONCAT_(a, b) a##b
#define FR_CONCAT(a, b) FR_CONCAT_(a, b)

/// `FR_TRY(expr)` returns the error of a Status; `FR_TRY_ASSIGN(auto x, expr)` unpacks a Result.
#define FR_TRY(expression)                                                            \
    do {                                                                              \
        auto fr_status_ = (expression);                                               \
        if (!fr_status_) return ::tl::unexpected<::fastreg::Error>(std::move(fr_status_).error()); \
    } while (0)
#define FR_TRY_ASSIGN(declaration, expression)                                        \
    auto FR_CONCAT(fr_result_, __LINE__) = (expression);                              \
    if (!FR_CONCAT(fr_result_, __LINE__))                                             \
        return ::tl::unexpected<::fastreg::Error>(                                    \
            std::move(FR_CONCAT(fr_result_, __LINE__)).error());                      \
    declaration = *std::move(FR_CONCAT(fr_result_, __LINE__))
