// Videos in rows and columns with their names: one moving picture to look at.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace magicid::media {

struct SheetRow {
  std::string title;              // above the row; empty: none
  std::vector<at::Tensor> cells;  // [F,3,H,W] each, any size; a photo has F = 1; undefined: the cell stays empty
};

struct SheetOptions {
  std::int64_t cell_width = 160;  // pixels; heights follow from the cells' aspects
  std::int64_t margin = 8;        // pixels between cells and around them
};

// frames [F,3,H,W] -> [F,3,height,width] of the same aspect, bicubic; the height is rounded down, and at least 1. For callers that would not keep whole videos.
at::Tensor scale_to_width(const at::Tensor& frames, std::int64_t width);

// Lays the rows out under the columns' names -> [F,3,H,W] in 0..1, black words on white, F that of the longest cell; shorter ones keep their last frame. Cells
// are scaled to one width (scale_to_width) and stand at the top of their row. Words are drawn with OpenCV's built-in font: printable ASCII, every other
// character as '?'; what is longer than its column or the sheet is cut and ends in "...". Throws InvariantError when a row has more cells than there are
// columns, or nothing is to be shown.
at::Tensor contact_sheet(const std::vector<std::string>& columns, const std::vector<SheetRow>& rows, const SheetOptions& options = {});

}  // namespace magicid::media
