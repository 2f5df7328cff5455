// Answers each request from its script, and runs the program within the test.
#include "fake_node.h"

#include <csignal>
#include <cstring>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fastreg::cli::test {
namespace {

// "POST /v1/join {...}" of one connection.
std::string read_question(int fd) {
    std::string text;
    char block[4096];
    for (;;) {
        const auto end = text.find("\r\n\r\n");
        if (end != std::string::npos) {
            std::size_t length = 0;
            if (const auto at = text.find("Content-Length: "); at != std::string::npos) {
                length = std::strtoul(text.c_str() + at + 16, nullptr, 10);
            }
            if (text.size() >= end + 4 + length) {
                std::string line = text.substr(0, text.find(" HTTP/1.1"));
                if (length > 0) line += " " + text.substr(end + 4, length);
                return line;
            }
        }
        const ssize_t n = ::read(fd, block, sizeof block);
        if (n <= 0) return text;
        text.append(block, static_cast<std::size_t>(n));
    }
}

[[noreturn]] void answer_for_ever(int listener, const std::string& log, Script script) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::signal(SIGPIPE, SIG_IGN);
    std::map<std::string, std::size_t> turn;
    std::vector<int> silent;
    for (;;) {
        const int fd = ::accept(listener, nullptr, nullptr);
        if (fd < 0) ::_exit(0);
        const std::string question = read_question(fd);
        std::ofstream(log, std::ios::app) << question << '\n';
        const std::string key = question.substr(0, question.find(' ', question.find(' ') + 1));
        std::string answer = json_reply(404, R"({"error":{"code":"unknown_path","message":"no such path"}})");
        if (const auto found = script.find(key); found != script.end()) {
            std::size_t& n = turn[key];
            answer = found->second[std::min(n, found->second.size() - 1)];
            ++n;
        }
        if (answer == "gone") ::_exit(0);
        if (answer == "silence") {
            silent.push_back(fd);
            continue;
        }
        for (std::size_t sent = 0; sent < answer.size();) {
            const ssize_t n = ::write(fd, answer.data() + sent, answer.size() - sent);
            if (n <= 0) break;
            sent += static_cast<std::size_t>(n);
        }
        ::close(fd);
    }
}

}  // namespace

Folder::Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "fastreg-cli-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
}

Folder::~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void Folder::write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ + "/" + name) << content;
}

std::string Folder::read(const std::string& name) const {
    std::ifstream in(path_ + "/" + name);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

std::string json_reply(int status, const std::string& body) {
    return "HTTP/1.1 " + std::to_string(status) +
           " X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
}

FakeNode::FakeNode(Script script) {
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket().c_str(), sizeof address.sun_path - 1);
    REQUIRE(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener, 16) == 0);
    child_ = ::fork();
    REQUIRE(child_ >= 0);
    if (child_ == 0) answer_for_ever(listener, folder_.path() + "/asked", std::move(script));
    ::close(listener);
}

FakeNode::~FakeNode() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
}

Ran run_cli(const std::vector<std::string>& words, int width, bool terminal) {
    std::ostringstream out;
    std::ostringstream err;
    const Console console{out, err, width, false, terminal};
    Ran ran;
    ran.exit = run(words, console, Pace{1ms, 1ms});
    ran.out = out.str();
    ran.err = err.str();
    return ran;
}

}  // namespace fastreg::cli::test
