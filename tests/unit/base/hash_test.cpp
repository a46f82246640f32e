#include "base/hash.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/errors.h"

namespace magicid::base {
namespace {

// The published digest of the empty input (xxHash's own test vectors).
TEST(Hash, EmptyInputIsTheKnownDigest) { EXPECT_EQ(hash_hex(std::string_view()), "99aa06d3014798d86001c324468d497f"); }

TEST(Hash, StreamingEqualsOneCall) {
  const std::string text(100'000, 'x');
  Hasher hasher;
  hasher.update(std::string_view(text).substr(0, 7)).update(std::string_view(text).substr(7, 60'000)).update(std::string_view(text).substr(60'007));
  EXPECT_EQ(hasher.hex(), hash_hex(text));
}

TEST(Hash, JsonIsCanonical) {
  const auto a = nlohmann::json::parse(R"({"b": 1, "a": [1.5, "x"]})"), b = nlohmann::json::parse(R"({"a":[1.5,"x"],"b":1})");
  EXPECT_EQ(hash_json(a), hash_json(b));
  EXPECT_NE(hash_json(a), hash_json(nlohmann::json::parse(R"({"a":[1.5,"y"],"b":1})")));
}

TEST(Hash, FileEqualsItsBytesAndAbsenceIsAnError) {
  const auto path = std::filesystem::temp_directory_path() / ("magicid-hash-" + std::to_string(getpid()));
  std::ofstream(path) << "some bytes";
  EXPECT_EQ(hash_file(path), hash_hex(std::string_view("some bytes")));
  std::filesystem::remove(path);
  EXPECT_THROW(hash_file(path), SystemError);
}

}  // namespace
}  // namespace magicid::base
