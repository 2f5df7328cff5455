// A table that fits the terminal: first its widest texts are cut, then its least important columns
// go. Main thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/terminal.h"

namespace fastreg::cli {

struct Column {
    std::string title;
    bool right = false;         // numbers
    std::size_t least = 0;      // may be cut to so many columns; 0: never cut
    int drop = 0;               // the highest goes first when nothing more can be cut; 0: never
};

struct Cell {
    std::string text;
    Style style = Style::plain;
};

class Table {
  public:
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    /// As many cells as columns.
    void add(std::vector<Cell> row);
    [[nodiscard]] bool empty() const { return rows_.empty(); }
    /// With its head line; every line at most console.width columns where the columns allow it.
    void print(const Console& console) const;

  private:
    std::vector<Column> columns_;
    std::vector<std::vector<Cell>> rows_;
};

}  // namespace fastreg::cli
