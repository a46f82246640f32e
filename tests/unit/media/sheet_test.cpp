// Where cells and words of a contact sheet stand.
#include "media/sheet.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace magicid::media {
namespace {

at::Tensor flat(std::int64_t frames, std::int64_t height, std::int64_t width, double level) { return at::full({frames, 3, height, width}, level); }
// Rows of the sheet whose pixels are not all white, within columns x .. x+width of its last frame.
std::vector<std::int64_t> inked(const at::Tensor& sheet, std::int64_t x, std::int64_t width) {
  const at::Tensor dark = sheet[sheet.size(0) - 1].narrow(2, x, width).lt(0.999).any(0).any(1);
  std::vector<std::int64_t> rows;
  for (std::int64_t y = 0; y < dark.size(0); ++y)
    if (dark[y].item<bool>()) rows.push_back(y);
  return rows;
}

TEST(ContactSheet, CellsStandInTheirPlaces) {
  at::Tensor video = flat(3, 24, 32, 0.5);
  video[2].fill_(0.25);
  const SheetOptions options{.cell_width = 64, .margin = 4};
  const at::Tensor sheet =
      contact_sheet({"", ""}, {{.title = "", .cells = {flat(1, 16, 16, 0.75), video}}, {.title = "", .cells = {at::Tensor(), flat(2, 32, 64, 0.0)}}}, options);
  // Rows: the square of 64 beside the video of 48; a video of 32.
  ASSERT_EQ(sheet.sizes(), (std::vector<std::int64_t>{3, 3, 4 + 64 + 4 + 32 + 4, 4 + 64 + 4 + 64 + 4}));
  const auto level = [&](std::int64_t f, std::int64_t y, std::int64_t x) { return sheet[f].select(1, y).select(1, x).mean().item<double>(); };
  for (const std::int64_t f : {0, 1, 2}) {
    EXPECT_NEAR(level(f, 4, 4), 0.75, 1e-6) << "a photo stays";
    EXPECT_NEAR(level(f, 67, 67), 0.75, 1e-6);
    EXPECT_NEAR(level(f, 4, 72), f == 2 ? 0.25 : 0.5, 1e-6);
    EXPECT_NEAR(level(f, 72, 72), 0.0, 1e-6) << "the shorter video keeps its last frame";
  }
  for (const auto& [y, x] : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 0}, {3, 10}, {10, 70}, {52, 100}, {69, 100}, {80, 20}, {107, 139}})
    EXPECT_EQ(level(2, y, x), 1.0) << y << " " << x;
}

TEST(ContactSheet, WordsStandAboveAndAreCut) {
  const SheetOptions options{.cell_width = 100, .margin = 5};
  const std::string name = "a name that is much too long for its column";
  const at::Tensor sheet = contact_sheet({name, ""}, {{.title = "\u00e9t\u00e9", .cells = {flat(1, 10, 100, 0.0), flat(1, 10, 100, 0.0)}}}, options);
  ASSERT_EQ(sheet.size(2), 5 + 20 + 20 + 10 + 5);
  const auto left = inked(sheet, 5, 100), right = inked(sheet, 110, 100);
  EXPECT_LT(left.front(), 25) << "the column's name";
  EXPECT_EQ(right, (std::vector<std::int64_t>{45, 46, 47, 48, 49, 50, 51, 52, 53, 54})) << "a column without a name; the row's title is short";
  EXPECT_TRUE(inked(sheet, 105, 5).empty()) << "words stay in their column";
  EXPECT_TRUE(sheet.ge(0).all().item<bool>() && sheet.le(1).all().item<bool>());
  // A character of two bytes takes the place of one.
  const auto titled = [&](const char* title) { return contact_sheet({""}, {{.title = title, .cells = {flat(1, 10, 100, 0.0)}}}, options); };
  EXPECT_TRUE(at::equal(titled("\u00e9t\u00e9"), titled("?t?")));
  EXPECT_FALSE(at::equal(titled("?t?"), titled("?u?")));
}

TEST(ContactSheet, NothingToShowIsAnError) {
  EXPECT_THROW(contact_sheet({"a"}, {}), base::InvariantError);
  EXPECT_THROW(contact_sheet({"a"}, {{.title = "", .cells = {at::Tensor()}}}), base::InvariantError);
  EXPECT_THROW(contact_sheet({"a"}, {{.title = "", .cells = {flat(1, 2, 2, 0), flat(1, 2, 2, 0)}}}), base::InvariantError);
}

}  // namespace
}  // namespace magicid::media
