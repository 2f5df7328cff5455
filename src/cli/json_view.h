// Reads the node's JSON without trust: a field that is missing or of another type is empty, since a
// node of another version may answer. nlohmann/json only in the .cc files that include this.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/admin_client.h"
#include "cli/terminal.h"

namespace fastreg::cli {

using Json = nlohmann::ordered_json;
using Path = std::initializer_list<std::string_view>;

/// Null where there is nothing at that path.
[[nodiscard]] const Json& at(const Json& json, Path path);
/// Safe to print on a terminal; "" where there is none.
[[nodiscard]] std::string text_at(const Json& json, Path path);
[[nodiscard]] std::uint64_t number_at(const Json& json, Path path);
[[nodiscard]] bool flag_at(const Json& json, Path path);

/// Two blanks a level; broken UTF-8 is replaced.
[[nodiscard]] std::string pretty(const Json& json);
[[nodiscard]] std::string compact(const Json& json);

/// What the node said: a document, or the exit code and the sentence of its refusal.
struct Answer {
    Exit exit = Exit::done;
    std::string complaint;
    Json json;

    [[nodiscard]] bool ok() const { return exit == Exit::done; }
};

/// One question to the node, every way of failing turned into an exit code.
[[nodiscard]] Answer ask(const AdminClient& client, std::string_view method, std::string_view path,
                         const Json& body = nullptr);

/// Prints the complaint and returns the exit code.
Exit refuse(const Answer& answer, const Console& console);

}  // namespace fastreg::cli
