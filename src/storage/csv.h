// Comma-separated values as RFC 4180 has them: what spreadsheets and Python's csv module write and read.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace magicid::storage {

struct CsvRow {
  std::size_t line = 0;  // where it begins, from 1; a quoted cell may hold line breaks
  std::vector<std::string> cells;
};

// Rows of `text`; CRLF, LF and CR end a row, blank lines are skipped, a byte order mark in front is dropped. `name` is what errors call the text.
// Throws UserError naming the line for a quote that does not close, and for text before or behind a quoted cell.
std::vector<CsvRow> read_csv(std::string_view text, const std::string& name);

// One row with its CRLF; cells with a comma, a quote or a line break are quoted, and so are those with blanks around, which some readers cut.
std::string csv_row(const std::vector<std::string>& cells);

}  // namespace magicid::storage
