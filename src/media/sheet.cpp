#include "media/sheet.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <opencv2/imgproc.hpp>

#include "base/errors.h"
#include "media/geometry.h"

namespace magicid::media {
namespace {

std::int64_t height_at(const at::Tensor& frames, std::int64_t width) { return std::max<std::int64_t>(1, frames.size(2) * width / frames.size(3)); }

constexpr int font = cv::FONT_HERSHEY_SIMPLEX, thickness = 1, line_height = 20, baseline = 5;
constexpr double font_scale = 0.42;

int width_of(const std::string& text) {
  int below = 0;
  return cv::getTextSize(text, font, font_scale, thickness, &below).width;
}

// One character for each code point, and at most `width` pixels.
std::string printable(const std::string& text, int width) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) == 0x80) continue;  // the rest of a UTF-8 sequence
    out += byte >= 0x20 && byte < 0x7f ? c : '?';
  }
  if (width_of(out) <= width) return out;
  while (!out.empty() && width_of(out + "...") > width) out.pop_back();
  return out + "...";
}

// A line of words into every frame of sheet [F,3,H,W].
void write_line(at::Tensor& sheet, const std::string& text, std::int64_t x, std::int64_t y, std::int64_t width) {
  cv::Mat canvas(line_height, static_cast<int>(width), CV_8UC1, cv::Scalar(255));
  cv::putText(canvas, printable(text, static_cast<int>(width)), {0, line_height - baseline}, font, font_scale, cv::Scalar(30), thickness, cv::LINE_AA);
  sheet.narrow(2, y, line_height).narrow(3, x, width).copy_(at::from_blob(canvas.data, {line_height, width}, at::kByte).to(at::kFloat).div_(255));
}

}  // namespace

at::Tensor scale_to_width(const at::Tensor& frames, std::int64_t width) { return resize(frames, Size{height_at(frames, width), width}); }

at::Tensor contact_sheet(const std::vector<std::string>& columns, const std::vector<SheetRow>& rows, const SheetOptions& options) {
  const std::int64_t width = options.cell_width, margin = options.margin, count = static_cast<std::int64_t>(columns.size());
  base::check_invariant(count > 0 && !rows.empty() && width > 0 && margin >= 0, "contact_sheet needs columns, rows and a cell width");
  const bool named = std::any_of(columns.begin(), columns.end(), [](const std::string& name) { return !name.empty(); });
  std::int64_t frames = 0, sheet_height = margin + (named ? line_height : 0);
  std::vector<std::int64_t> heights;
  for (const auto& row : rows) {
    base::check_invariant(row.cells.size() <= columns.size(), "contact_sheet: a row of ", row.cells.size(), " cells for ", columns.size(), " columns");
    std::int64_t height = 0;
    for (const auto& cell : row.cells) {
      if (!cell.defined()) continue;
      base::check_invariant(cell.dim() == 4 && cell.size(0) >= 1 && cell.size(1) == 3, "contact_sheet needs cells [F,3,H,W]");
      frames = std::max(frames, cell.size(0));
      height = std::max(height, height_at(cell, width));
    }
    heights.push_back(height);
    sheet_height += (row.title.empty() ? 0 : line_height) + height + margin;
  }
  base::check_invariant(frames > 0, "contact_sheet: no cell has a picture");
  const std::int64_t sheet_width = margin + count * (width + margin);
  at::Tensor sheet = at::ones({frames, 3, sheet_height, sheet_width});

  std::int64_t y = margin;
  if (named) {
    for (std::int64_t c = 0; c < count; ++c) write_line(sheet, columns[static_cast<std::size_t>(c)], margin + c * (width + margin), y, width);
    y += line_height;
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!rows[r].title.empty()) {
      write_line(sheet, rows[r].title, margin, y, sheet_width - 2 * margin);
      y += line_height;
    }
    for (std::size_t c = 0; c < rows[r].cells.size(); ++c) {
      const at::Tensor& cell = rows[r].cells[c];
      if (!cell.defined()) continue;
      at::Tensor place = sheet.narrow(2, y, height_at(cell, width)).narrow(3, margin + static_cast<std::int64_t>(c) * (width + margin), width);
      for (std::int64_t f = 0; f < frames; ++f)  // one at a time: a long video is not scaled up as a whole
        place.narrow(0, f, 1).copy_(scale_to_width(cell.narrow(0, std::min(f, cell.size(0) - 1), 1), width));
    }
    y += heights[r] + margin;
  }
  return sheet;
}

}  // namespace magicid::media
