// Any target with any method: what comes out of the router passed its grammar.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "registry/answers.h"
#include "registry/route.h"

using namespace fastreg;
using namespace fastreg::registry;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    http::Request request;
    request.method = static_cast<http::Method>(data[0] % 8U);
    const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
    const std::size_t line = text.find('\n');
    auto target = http::parse_target(text.substr(0, line));
    if (!target) return 0;
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    if (line != std::string::npos) {
        request.headers.add("Content-Range", text.substr(line + 1));
        request.headers.add("If-None-Match", text.substr(line + 1));
        request.headers.add("Accept", text.substr(line + 1));
    }
    const Route found = route(request);
    if (const Name* name = name_of(found)) {
        if (!is_repository(name->repository)) std::abort();
        const std::string location = upload_location(*name, "id");
        if (location.find("..") != std::string::npos) std::abort();
    }
    if (const auto* rejected = std::get_if<Rejected>(&found)) {
        if (rejected->error.status < 400) std::abort();
        (void)error_answer(rejected->error);
    }
    return 0;
}
