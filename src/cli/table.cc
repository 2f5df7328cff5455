#include "cli/table.h"

#include <algorithm>
#include <ostream>

#include "base/result.h"

namespace fastreg::cli {
namespace {

constexpr std::size_t kGap = 2;

// Widths after cutting and dropping; a dropped column is 0 wide and not shown.
struct Layout {
    std::vector<std::size_t> widths;
    std::vector<bool> shown;

    [[nodiscard]] std::size_t total() const {
        std::size_t sum = 0;
        std::size_t count = 0;
        for (std::size_t i = 0; i < widths.size(); ++i) {
            if (!shown[i]) continue;
            sum += widths[i];
            ++count;
        }
        return sum + (count > 1 ? (count - 1) * kGap : 0);
    }
};

// Takes columns off the widest text that may still be cut, until it fits or none may.
void cut(const std::vector<Column>& columns, std::size_t width, Layout& layout) {
    while (layout.total() > width) {
        std::size_t widest = columns.size();
        for (std::size_t i = 0; i < columns.size(); ++i) {
            if (!layout.shown[i] || columns[i].least == 0) continue;
            if (layout.widths[i] <= columns[i].least) continue;
            if (widest == columns.size() || layout.widths[i] > layout.widths[widest]) widest = i;
        }
        if (widest == columns.size()) return;
        --layout.widths[widest];
    }
}

Layout fit(const std::vector<Column>& columns, const std::vector<std::size_t>& natural,
           std::size_t width) {
    Layout layout{natural, std::vector<bool>(columns.size(), true)};
    for (;;) {
        layout.widths = natural;
        cut(columns, width, layout);
        if (layout.total() <= width) return layout;
        std::size_t victim = columns.size();
        for (std::size_t i = 0; i < columns.size(); ++i) {
            if (!layout.shown[i] || columns[i].drop == 0) continue;
            if (victim == columns.size() || columns[i].drop > columns[victim].drop) victim = i;
        }
        if (victim == columns.size()) return layout;
        layout.shown[victim] = false;
    }
}

}  // namespace

void Table::add(std::vector<Cell> row) {
    FR_ASSERT(row.size() == columns_.size());
    rows_.push_back(std::move(row));
}

void Table::print(const Console& console) const {
    std::vector<std::size_t> natural;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        std::size_t widest = columns_of(columns_[i].title);
        for (const auto& row : rows_) widest = std::max(widest, columns_of(row[i].text));
        natural.push_back(widest);
    }
    const Layout layout = fit(columns_, natural, static_cast<std::size_t>(console.width));

    const auto print_row = [&](const auto& text_of, const auto& style_of) {
        std::string line;
        std::size_t gap = 0;  // blanks owed: never printed at the end of a line
        bool first = true;
        for (std::size_t i = 0; i < columns_.size(); ++i) {
            if (!layout.shown[i]) continue;
            if (!first) gap += kGap;
            first = false;
            const std::string text = fitted(text_of(i), layout.widths[i]);
            const std::size_t pad = layout.widths[i] - std::min(layout.widths[i], columns_of(text));
            if (columns_[i].right) gap += pad;
            if (!text.empty()) {
                line += std::string(gap, ' ') + console.paint(text, style_of(i));
                gap = 0;
            }
            if (!columns_[i].right) gap += pad;
        }
        console.out << line << '\n';
    };
    print_row([&](std::size_t i) { return columns_[i].title; },
              [](std::size_t) { return Style::dim; });
    for (const auto& row : rows_) {
        print_row([&](std::size_t i) { return row[i].text; },
                  [&](std::size_t i) { return row[i].style; });
    }
}

}  // namespace fastreg::cli
