#include "comm/options.h"

#include "base/errors.h"
#include "comm/watchdog.h"
#include "config/reader.h"

#include <gtest/gtest.h>

namespace magicid::comm {
namespace {

Options read(const std::string& yaml) {
  Options options;
  config::read_text(yaml, "test.yaml", [&](config::Fields& fields) { describe(fields, options); });
  return options;
}

TEST(CommOptions, MakeAMeshAndAWorld) {
  const Options options = read("backend: local\npair: 2\nsequence: 3\ncollective_timeout: 12.5\n");
  EXPECT_EQ(make_mesh(options, 12).shape(), (MeshShape{.replica = 2, .pair = 2, .sequence = 3}));
  EXPECT_THROW(make_mesh(options, 8), base::UserError);
  const auto before = collective_timeout();
  EXPECT_EQ(make_world(options)->backend(), "local");
  EXPECT_EQ(collective_timeout().count(), 12500);
  set_collective_timeout(before);
}

TEST(CommOptions, RefuseWhatCannotBe) {
  EXPECT_THROW(read("pair: 3\n"), base::UserError);
  EXPECT_THROW(read("sequence: 0\n"), base::UserError);
  EXPECT_THROW(read("backend: gloo\n"), base::UserError);
  EXPECT_THROW(read("collective_timeout: -1\n"), base::UserError);
}

}  // namespace
}  // namespace magicid::comm
