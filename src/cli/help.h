// The help texts. Pure; any thread.
#pragma once

#include <string>

#include "cli/arguments.h"

namespace fastreg::cli {

/// `fastreg --help`: what the program is, its commands, examples.
[[nodiscard]] std::string program_help();
/// `fastreg <command> --help`; the flags of serve come from the table of configuration keys and are
/// wrapped at `width` columns.
[[nodiscard]] std::string command_help(Command command, int width);
/// Breaks a sentence into lines of at most `width` columns, each indented by `indent` but the first.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t indent, std::size_t width);

}  // namespace fastreg::cli
