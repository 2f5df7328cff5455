// A node's admin socket in a child process: says what the test told it to say, and writes down what
// it was asked.
#pragma once

#include <sys/types.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace fastreg::cli::test {

/// A directory that is gone with its content when the test ends.
class Folder {
  public:
    Folder();
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder();
    [[nodiscard]] const std::string& path() const { return path_; }
    void write(const std::string& name, const std::string& content) const;
    [[nodiscard]] std::string read(const std::string& name) const;

  private:
    std::string path_;
};

/// "GET /v1/status" to the bytes of its answers, one after the other; the last one stays. An empty
/// answer closes the connection, "silence" keeps it open without a byte, "gone" ends the node. A connection
/// without a question is "".
using Script = std::map<std::string, std::vector<std::string>>;

[[nodiscard]] std::string json_reply(int status, const std::string& body);

class FakeNode {
  public:
    explicit FakeNode(Script script);
    FakeNode(const FakeNode&) = delete;
    FakeNode& operator=(const FakeNode&) = delete;
    ~FakeNode();
    [[nodiscard]] const std::string& data_dir() const { return folder_.path(); }
    [[nodiscard]] std::string socket() const { return folder_.path() + "/admin.sock"; }
    /// One line a question: "POST /v1/join {...}".
    [[nodiscard]] std::string asked() const { return folder_.read("asked"); }

  private:
    Folder folder_;
    pid_t child_ = -1;
};

/// The program run with these words, its output caught.
struct Ran {
    Exit exit = Exit::done;
    std::string out;
    std::string err;

    [[nodiscard]] int code() const { return static_cast<int>(exit); }
    [[nodiscard]] bool says(std::string_view text) const {
        return out.find(text) != std::string::npos || err.find(text) != std::string::npos;
    }
};
[[nodiscard]] Ran run_cli(const std::vector<std::string>& words, int width = 100, bool terminal = false);

}  // namespace fastreg::cli::test
