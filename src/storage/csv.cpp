#include "storage/csv.h"

#include "base/errors.h"

namespace magicid::storage {
namespace {

// One pass over the text, a cell at a time.
class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& name) : text_(text), name_(name) {
    if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
  }

  std::vector<CsvRow> read() {
    std::vector<CsvRow> rows;
    while (at_ < text_.size()) {
      CsvRow row{.line = line_};
      bool blank = true;
      while (true) {
        const bool quoted = peek() == '"';
        row.cells.push_back(quoted ? quoted_cell() : plain_cell());
        blank = blank && !quoted && row.cells.size() == 1 && row.cells[0].empty();
        if (peek() != ',') break;
        ++at_;
        blank = false;
      }
      end_row();
      if (!blank) rows.push_back(std::move(row));
    }
    return rows;
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\n'; }

  std::string plain_cell() {
    const std::size_t first = at_;
    while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\n' && text_[at_] != '\r') {
      if (text_[at_] == '"')
        throw base::UserError(name_, ":", line_, ": a quote inside a cell; put the whole cell in quotes and double the quotes in it, e.g. \"a \"\"word\"\"\"");
      ++at_;
    }
    return std::string(text_.substr(first, at_ - first));
  }

  std::string quoted_cell() {
    const std::size_t opened = line_;
    std::string cell;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"') {
        if (at_ + 1 >= text_.size() || text_[at_ + 1] != '"') {
          ++at_;
          if (at_ < text_.size() && peek() != ',' && peek() != '\n' && peek() != '\r')
            throw base::UserError(name_, ":", line_, ": text behind the closing quote of a cell; quotes inside a cell are doubled");
          return cell;
        }
        ++at_;
      }
      if (text_[at_] == '\n' || (text_[at_] == '\r' && (at_ + 1 >= text_.size() || text_[at_ + 1] != '\n'))) ++line_;
      cell += text_[at_];
    }
    throw base::UserError(name_, ":", opened, ": the cell's opening quote has no closing one");
  }

  void end_row() {
    if (at_ >= text_.size()) return;
    if (text_[at_] == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n') ++at_;
    ++at_;
    ++line_;
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t at_ = 0, line_ = 1;
};

}  // namespace

std::vector<CsvRow> read_csv(std::string_view text, const std::string& name) { return CsvReader(text, name).read(); }

std::string csv_row(const std::vector<std::string>& cells) {
  std::string row;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::string& cell = cells[i];
    if (i > 0) row += ',';
    const bool blanks = !cell.empty() && (cell.front() == ' ' || cell.back() == ' ' || cell.front() == '\t' || cell.back() == '\t');
    // A row of one empty cell would be a blank line.
    if (cell.find_first_of(",\"\r\n") == std::string::npos && !blanks && !(cell.empty() && cells.size() == 1)) {
      row += cell;
      continue;
    }
    row += '"';
    for (const char c : cell) row += c == '"' ? std::string("\"\"") : std::string(1, c);
    row += '"';
  }
  return row + "\r\n";
}

}  // namespace magicid::storage
