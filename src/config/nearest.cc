#include "config/nearest.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace fastreg::config {
namespace {

// Levenshtein distance. Both words are keys or what was typed for one, cut to 64 characters.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row.back();
}

// What operators look for and this version does not have: CHANGELOG.md lists the same.
struct Missing {
    std::string_view word;  // the key, or its first part
    std::string_view what;
};
constexpr Missing kMissing[] = {
    {"upstream", "pulling through from another registry"},
    {"tls", "TLS"},
    {"upload-limit", "a limit on rates"},
    {"download-limit", "a limit on rates"},
};

// "http_listen", "HTTP-Listen" and "http.listen" are the same word to a person.
std::string folded(std::string_view word) {
    std::string out(word.substr(0, 64));
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        if (c == '_' || c == '.') c = '-';
    }
    // What all variables begin with makes no two of them alike.
    constexpr std::string_view kVariable = "fastreg-";
    if (out.starts_with(kVariable)) out.erase(0, kVariable.size());
    return out;
}

}  // namespace

std::optional<std::string> nearest(std::string_view word, std::span<const std::string> known) {
    const std::string typed = folded(word);
    // A third of the letters may be wrong, and two of four; beyond that a suggestion is a guess.
    std::size_t best = (typed.size() < 4 ? 1 : std::max<std::size_t>(2, typed.size() / 3)) + 1;
    const std::string* found = nullptr;
    for (const std::string& candidate : known) {
        const std::string name = folded(candidate);
        std::size_t far = distance(typed, name);
        // The last part alone, as in "listen" for "http.listen", counts as one slip.
        const auto dot = candidate.rfind('.');
        if (dot != std::string::npos && typed == folded(std::string_view(candidate).substr(dot + 1))) {
            far = std::min<std::size_t>(far, 1);
        }
        if (far < best) {
            best = far;
            found = &candidate;
        }
    }
    if (found == nullptr) return std::nullopt;
    return *found;
}

std::optional<std::string_view> not_yet(std::string_view word) {
    std::string typed = folded(word);
    for (const std::string_view prefix : {"--", "fastreg-"}) {
        if (typed.starts_with(prefix)) typed.erase(0, prefix.size());
    }
    for (const Missing& missing : kMissing) {
        if (!typed.starts_with(missing.word)) continue;
        if (typed.size() == missing.word.size() || typed[missing.word.size()] == '-') return missing.what;
    }
    return std::nullopt;
}

std::string hint(std::string_view word, std::span<const std::string> known) {
    if (const auto what = not_yet(word)) return "; " + std::string(*what) + " is not in this version";
    const auto near = nearest(word, known);
    return near ? "; did you mean '" + *near + "'?" : "";
}

}  // namespace fastreg::config
