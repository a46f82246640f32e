// Imports into a folder of the test's own, and what comes of them.
#pragma once

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/errors.h"
#include "imports/import.h"
#include "storage/atomic_file.h"
#include "storage/safetensors.h"
#include "support/temporary_folder.h"

namespace magicid::tests {

inline const std::filesystem::path kImports = std::filesystem::path(MAGICID_TEST_DATA) / "imports";

inline nlohmann::json parsed(const std::filesystem::path& path) { return nlohmann::json::parse(storage::read_text(path)); }

inline std::string import_refusal(const std::filesystem::path& source, const imports::ImportOptions& options = {}) {
  const TemporaryFolder folder;
  try {
    imports::import_weights(source, folder / "out", options);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "it was imported";
}

inline void expect_same_tensors(const std::filesystem::path& file, const std::filesystem::path& expected, const std::string& added_prefix = "") {
  const auto a = storage::SafetensorsFile::open(file), b = storage::SafetensorsFile::open(expected);
  EXPECT_EQ(a.names().size(), b.names().size());
  for (const auto& name : b.names()) {
    ASSERT_TRUE(a.contains(added_prefix + name)) << added_prefix + name;
    EXPECT_EQ(a.dtype(added_prefix + name), b.dtype(name)) << name;
    EXPECT_TRUE(at::equal(a.at(added_prefix + name), b.at(name))) << name;
  }
}

// The first call keeps the file's bytes, each other one compares with them.
inline void expect_same_bytes(const std::filesystem::path& file, std::string& bytes) {
  if (bytes.empty()) bytes = read_bytes(file);
  EXPECT_FALSE(bytes.empty());
  EXPECT_TRUE(read_bytes(file) == bytes) << file;
}

}  // namespace magicid::tests
