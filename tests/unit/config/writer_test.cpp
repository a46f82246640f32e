#include "config/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "example_options.h"

namespace magicid::config {
namespace {

using example::Root;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Writer, ResolvedFileReadsBackToTheSameValues) {
  Root options;
  options.name = "no \"quotes\" \\ : # \n tab\t – ü \x7f";
  options.references = "/photos/my photos";
  options.prompts = {"", "yes", "1e-4", "- a", "{b}", "null", "~"};
  options.workers = std::numeric_limits<std::int64_t>::max();
  options.optimize.beta = 0.1 + 0.2;
  options.optimize.learning_rate = 1e-300;
  options.optimize.weights = {1e22, 5e-324, 3, 1.7976931348623157e308};
  options.optimize.milestones = {1, 2};
  options.optimize.clip = false;
  for (const bool comments : {true, false}) {
    const std::string yaml = resolved_yaml(described(options), comments);
    Root again;
    read_text(yaml, "/elsewhere/config.yaml", described(again));
    EXPECT_EQ(to_json(described(again), FieldSet::all), to_json(described(options), FieldSet::all)) << yaml;
    EXPECT_EQ(again.optimize.weights, options.optimize.weights);
    EXPECT_EQ(again.name, options.name);
    EXPECT_EQ(resolved_yaml(described(again), comments), yaml);
  }
}

TEST(Writer, CommentsAndNumbersThatEveryYamlReaderAgreesOn) {
  Root options;
  options.optimize.learning_rate = 1e-7;
  const std::string yaml = resolved_yaml(described(options));
  EXPECT_THAT(yaml, HasSubstr("# optimizer steps [>= 1, <= 1e+06]\n  steps: 1000\n"));
  EXPECT_THAT(yaml, HasSubstr("learning_rate: 1.0e-07"));
  EXPECT_THAT(yaml, HasSubstr("beta: 2000.0\n"));
  EXPECT_THAT(yaml, HasSubstr("# Preference training.\noptimize:\n"));
  EXPECT_THAT(resolved_yaml(described(options), false), Not(HasSubstr("#")));
}

TEST(Writer, ReferenceMarkdown) {
  Root options;
  const std::string markdown = reference_markdown(described(options));
  EXPECT_THAT(markdown, HasSubstr("| key | type | default | range | what it does |"));
  EXPECT_THAT(markdown, HasSubstr("| `references` | path | required |  | folder of photos |"));
  EXPECT_THAT(markdown, HasSubstr("| `detector` | choice | `\"haar\"` | yunet, haar, none, no | face detector |"));
  EXPECT_THAT(markdown, HasSubstr("\n## `optimize`\n\nPreference training.\n\n| key"));
  EXPECT_THAT(markdown, HasSubstr("| `beta` | number | `2000.0` | > 0 | inverse temperature |"));
  EXPECT_THAT(markdown, HasSubstr("peak learning rate \\| of AdamW"));
}

TEST(Writer, FingerprintHoldsOnlyWhatChangesResults) {
  Root options;
  const auto before = to_json(described(options), FieldSet::fingerprint);
  EXPECT_FALSE(before.contains("workers"));
  EXPECT_FALSE(before.contains("references"));
  EXPECT_TRUE(to_json(described(options), FieldSet::all).contains("workers"));
  options.workers = 9;
  options.references = "/x";
  EXPECT_EQ(to_json(described(options), FieldSet::fingerprint).dump(), before.dump());
  options.optimize.beta = 50;
  const auto after = to_json(described(options), FieldSet::fingerprint);
  EXPECT_EQ(after["optimize"]["beta"], 50);
  EXPECT_NE(after.dump(), before.dump());
  // One room's options alone are the section.
  EXPECT_EQ(to_json(described(options.optimize), FieldSet::fingerprint), after["optimize"]);
  // 2000 read from "2000" and from "2000.0" is the same text in the fingerprint.
  EXPECT_EQ(before["optimize"]["beta"].dump(), "2000.0");
}

}  // namespace
}  // namespace magicid::config
