// The program `fastreg`.
#include <string>
#include <vector>

#include "cli/commands.h"

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    return static_cast<int>(fastreg::cli::run(arguments, fastreg::cli::own_console()));
}
