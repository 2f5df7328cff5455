// The help texts: complete, true to the parser, and no wider than they promise.
#include <doctest/doctest.h>

#include <sstream>

#include "cli/help.h"
#include "config/keys.h"
#include "fake_node.h"

using namespace fastreg;
using namespace fastreg::cli;
using namespace fastreg::cli::test;

namespace {

constexpr Command kAll[] = {Command::serve, Command::status, Command::peers,    Command::blobs,
                            Command::blob,  Command::join,   Command::leave,    Command::verify,
                            Command::key_show, Command::config_check, Command::doctor,
                            Command::bench, Command::version};

}  // namespace

TEST_CASE("every command has a usage line, and is in the list of commands") {
    for (const Command command : kAll) {
        const std::string name(name_of(command));
        CAPTURE(name);
        const std::string text = command_help(command, 100);
        CHECK(text.find("Usage:\n  fastreg ") != std::string::npos);
        CHECK(program_help().find("\n  " + name) != std::string::npos);
    }
}

TEST_CASE("every example in a help text is a command line that parses") {
    // An example that fails is worse than none; this also catches a renamed flag.
    int tried = 0;
    std::string all = program_help();
    for (const Command command : kAll) all += command_help(command, 100);
    std::istringstream in(all);
    bool examples = false;
    for (std::string line; std::getline(in, line);) {
        if (!line.starts_with(' ')) examples = line == "Examples:" || (examples && line.empty());
        if (!examples || !line.starts_with("  fastreg")) continue;
        std::vector<std::string> words;
        std::istringstream split(line);
        for (std::string word; split >> word;) {
            if (word == "|" || word == ">") break;
            words.push_back(word);
        }
        words.erase(words.begin());
        // A remark stands behind two blanks in the program's own help.
        if (const auto remark = line.find("  ", 3); remark != std::string::npos) {
            std::istringstream again(line.substr(0, remark));
            words.clear();
            for (std::string word; again >> word;) words.push_back(word);
            words.erase(words.begin());
        }
        CAPTURE(line);
        const auto parsed = parse_arguments(words);
        CHECK_MESSAGE(parsed, parsed.error().what);
        ++tried;
    }
    CHECK(tried > 20);
}

TEST_CASE("the help of serve names every flag and fits a terminal") {
    for (const int width : {60, 100}) {
        const std::string text = command_help(Command::serve, width);
        for (const config::Key& key : config::keys()) {
            CHECK(text.find("  " + config::flag_of(key)) != std::string::npos);
        }
    }
    std::istringstream in(command_help(Command::serve, 100));
    for (std::string line; std::getline(in, line);) CHECK(line.size() <= 100);
}

TEST_CASE("every help text fits a terminal of 80 columns") {
    std::string all = program_help();
    for (const Command command : kAll) all += command_help(command, 80);
    std::istringstream in(all);
    for (std::string line; std::getline(in, line);) {
        CAPTURE(line);
        CHECK(line.size() <= 80);
    }
}

TEST_CASE("sentences wrap at the width and keep their indent") {
    CHECK(wrapped("one two three", 2, 9) == "one two\n  three");
    CHECK(wrapped("", 2, 9) == "");
    CHECK(wrapped("averylongword x", 2, 5) == "averylongword\n  x");
}

TEST_CASE("help goes to standard output and succeeds, a usage error does neither") {
    const Ran help = run_cli({"peers", "--help"});
    CHECK(help.code() == 0);
    CHECK(help.err.empty());
    CHECK(help.out.find("--watch") != std::string::npos);
    const Ran wrong = run_cli({"peers", "--wach"});
    CHECK(wrong.code() == 2);
    CHECK(wrong.out.empty());
    CHECK(wrong.err.find("did you mean '--watch'") != std::string::npos);
}
