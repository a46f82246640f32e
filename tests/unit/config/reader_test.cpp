#include "config/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/errors.h"
#include "example_options.h"

namespace magicid::config {
namespace {

using example::Root;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Root read_yaml(const std::string& yaml, const std::vector<std::string>& overrides = {}, const std::string& name = "/configs/run.yaml") {
  Root options;
  read_text(yaml, name, described(options), overrides);
  return options;
}

// The message of the UserError; fails when there is none.
std::string refusal(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  try {
    read_yaml(yaml, overrides);
  } catch (const base::UserError& error) {
    return error.what();
  }
  ADD_FAILURE() << "was accepted:\n" << yaml;
  return {};
}

const std::string good = "references: photos\n";

TEST(Reader, ReadsEveryTypeAndKeepsDefaults) {
  const Root options = read_yaml(
      "name: 'run: 1'\nreferences: ../photos/\ndetector: none\nprompts: [one, \"two\"]\nrewards:\n- semantic\nworkers: 7\n"
      "optimize:\n  beta: 1e-4\n  clip: false\n  weights: [1, .5, 2.5e+1]\n  milestones: []\n");
  EXPECT_EQ(options.name, "run: 1");
  EXPECT_EQ(options.references, "/photos");
  EXPECT_EQ(options.detector, "none");
  EXPECT_EQ(options.prompts, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(options.rewards, (std::vector<std::string>{"semantic"}));
  EXPECT_EQ(options.workers, 7);
  EXPECT_EQ(options.optimize.beta, 1e-4);
  EXPECT_FALSE(options.optimize.clip);
  EXPECT_EQ(options.optimize.weights, (std::vector<double>{1, .5, 25}));
  EXPECT_TRUE(options.optimize.milestones.empty());
  EXPECT_EQ(options.optimize.steps, 1000);
}

TEST(Reader, TypesFollowTheKeyNotTheLook) {
  // What YAML 1.1 would turn into false, an octal number, a sexagesimal time or a float stays the text that was written.
  EXPECT_EQ(read_yaml(good + "name: no\n").name, "no");
  EXPECT_EQ(read_yaml(good + "name: 010\n").name, "010");
  EXPECT_EQ(read_yaml(good + "name: 12:30:45\n").name, "12:30:45");
  EXPECT_EQ(read_yaml(good + "name: 1.10\n").name, "1.10");
  EXPECT_EQ(read_yaml(good + "detector: no\n").detector, "no");
  EXPECT_EQ(read_yaml(good + "name: ''\n").name, "");
  EXPECT_EQ(read_yaml(good + "name: |\n  two\n  lines\n").name, "two\nlines\n");
  EXPECT_THAT(refusal(good + "optimize:\n  steps: \"50\"\n"),
              AllOf(HasSubstr("/configs/run.yaml:3: optimize.steps"), HasSubstr("expected an integer"), HasSubstr("quotes")));
  EXPECT_THAT(refusal(good + "optimize: {clip: yes}\n"),
              AllOf(HasSubstr("optimize.clip: found the word yes, expected true or false"), HasSubstr("YAML versions disagree")));
  EXPECT_THAT(refusal(good + "optimize: {clip: 1}\n"), HasSubstr("found the number 1, expected true or false"));
  EXPECT_THAT(refusal(good + "optimize: {steps: 010}\n"), HasSubstr("without leading zeros"));
  EXPECT_THAT(refusal(good + "optimize: {steps: 1e3}\n"), HasSubstr("found the number 1e3, expected an integer"));
  EXPECT_THAT(refusal(good + "optimize: {steps: 1.0}\n"), HasSubstr("expected an integer"));
  EXPECT_THAT(refusal(good + "optimize: {steps: 99999999999999999999}\n"), HasSubstr("does not fit 64 bits"));
  EXPECT_THAT(refusal(good + "optimize: {beta: .nan}\n"), HasSubstr("expected a number"));
  EXPECT_THAT(refusal(good + "optimize: {beta: inf}\n"), HasSubstr("finite"));
  EXPECT_THAT(refusal(good + "optimize: {beta: 1e999}\n"), HasSubstr("too large"));
  EXPECT_THAT(refusal(good + "optimize:\n  beta: 0,5\n"), HasSubstr("decimal point"));
  EXPECT_THAT(refusal(good + "optimize: {beta: abc}\n"), HasSubstr("found the word abc, expected a number"));
  EXPECT_THAT(refusal(good + "optimize: {beta: +-1}\n"), HasSubstr("expected a number"));
  EXPECT_THAT(refusal(good + "prompts: one\n"), HasSubstr("found the word one, expected a list of texts"));
  EXPECT_THAT(refusal(good + "prompts: [[a]]\n"), HasSubstr("found a list, expected a text"));
  EXPECT_THAT(refusal(good + "name: [a]\n"), HasSubstr("found a list, expected a text"));
  EXPECT_THAT(refusal(good + "optimize: 5\n"), HasSubstr("optimize: found the number 5, expected a section"));
  EXPECT_THAT(refusal(good + "name:\n"), HasSubstr("name: has no value"));
  EXPECT_THAT(refusal(good + "prompts:\n- a\n-\n"), HasSubstr("has an element without value"));
  EXPECT_THAT(refusal(good + "name: !!str 5\n"), HasSubstr("explicit tag"));
}

TEST(Reader, UnknownKeysNameTheNearestValidOne) {
  EXPECT_THAT(refusal(good + "optimize:\n  # note\n  bata: 5\n"), AllOf(HasSubstr("/configs/run.yaml:4: unknown key 'optimize.bata'"), HasSubstr("'beta'")));
  EXPECT_THAT(refusal(good + "optimise:\n  beta: 5\n"), HasSubstr("did you mean 'optimize'"));
  EXPECT_THAT(refusal(good + "beta: 5\n"), HasSubstr("did you mean 'optimize.beta'"));
  EXPECT_THAT(refusal(good + "zzzzzzzzzzzzz: 5\n"), AllOf(HasSubstr("Valid keys here: name, references"), Not(HasSubstr("did you mean"))));
  EXPECT_THAT(refusal(good + "detector: yunett\n"), AllOf(HasSubstr("did you mean 'yunet'"), HasSubstr("expected one of yunet, haar, none")));
}

TEST(Reader, BoundsRequiredRulesAndDuplicates) {
  EXPECT_THAT(refusal(good + "optimize: {steps: 0}\n"), HasSubstr("optimize.steps: is 0, must be at least 1 and at most 1e+06"));
  EXPECT_THAT(refusal(good + "optimize: {beta: 0}\n"), HasSubstr("must be above 0"));
  EXPECT_THAT(refusal(good + "optimize: {weights: [1, -0.5]}\n"), HasSubstr("is -0.5, must be at least 0"));
  EXPECT_EQ(read_yaml(good + "optimize: {learning_rate: 1}\n").optimize.learning_rate, 1);
  EXPECT_THAT(refusal("name: a\n"), AllOf(HasSubstr("'references' is missing"), HasSubstr("folder of photos")));
  EXPECT_THAT(refusal(""), HasSubstr("'references' is missing"));
  EXPECT_THAT(refusal("# only a comment\n"), HasSubstr("'references' is missing"));
  EXPECT_THAT(refusal(good + "optimize:\n  milestones: [5, 2000]\n"), HasSubstr("run.yaml:3: optimize.milestones: lie beyond the last step"));
  EXPECT_THAT(refusal(good + "name: a\nname: b\n"), HasSubstr("run.yaml:3: key 'name' stands twice; it was first given at /configs/run.yaml:2"));
  EXPECT_THAT(refusal(good + "optimize: {beta: 1, beta: 1}\n"), HasSubstr("stands twice"));
  EXPECT_THAT(refusal(good + "rewards: [id, id]\n"), HasSubstr("lists 'id' twice"));
}

TEST(Reader, AllProblemsAtOnceAndRulesOnlyWhenValuesAreRight) {
  const std::string message = refusal("name: a\nwerkers: 3\noptimize:\n  steps: -1\n  clip: maybe\n  milestones: [5]\n");
  EXPECT_THAT(message, AllOf(HasSubstr("4 problems"), HasSubstr(":2: unknown key 'werkers'"), HasSubstr(":4: optimize.steps"), HasSubstr(":5: optimize.clip"),
                             HasSubstr("'references' is missing")));
  EXPECT_THAT(message, Not(HasSubstr("lie beyond")));
}

TEST(Reader, BrokenYaml) {
  EXPECT_THAT(refusal("references: photos\noptimize:\n\tbeta: 1\n"), AllOf(HasSubstr("run.yaml:3"), HasSubstr("tab")));
  EXPECT_THAT(refusal("references: photos\noptimize:\n  beta: 1\n\tclip: true\n"), HasSubstr("tab"));
  EXPECT_THAT(refusal("references: [photos\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(refusal("references: a: b\n"), AllOf(HasSubstr("run.yaml:1"), HasSubstr("not valid YAML")));
  EXPECT_THAT(refusal("- a\n- b\n"), HasSubstr("the file is a list"));
  EXPECT_THAT(refusal("just words\n"), HasSubstr("'key: value' were expected"));
  EXPECT_THAT(refusal("references: a\n---\nname: b\n"), HasSubstr("several documents"));
  EXPECT_THAT(refusal(",references: a\n"), HasSubstr("several documents"));  // endless in yaml-cpp's LoadAll
  EXPECT_THAT(refusal("references: a\n...\nname: b\n"), HasSubstr("several documents"));
  EXPECT_THAT(refusal(std::string("references: a\nname: \x01\n")), HasSubstr("run.yaml:2: holds the control character 1"));
  EXPECT_THAT(refusal("? [a]\n: 1\n"), HasSubstr("a key must be a word"));
  EXPECT_EQ(read_yaml("\xEF\xBB\xBFreferences: a\n").references, "/configs/a");  // a byte order mark, as some editors write
  EXPECT_EQ(read_yaml("references: a\r\nname: b\r\n").name, "b");
}

TEST(Reader, TextsAreUtf8InOneSpelling) {
  const std::string zoe = "Zo\xC3\xAB", zoe_in_two = "Zoe\xCC\x88";
  EXPECT_EQ(read_yaml(good + "name: " + zoe_in_two + "\nprompts: [" + zoe_in_two + "]\n").name, zoe);
  EXPECT_EQ(read_yaml(good + "name: " + zoe_in_two + "\nprompts: [" + zoe_in_two + "]\n").prompts, std::vector<std::string>{zoe});
  EXPECT_EQ(read_yaml(good, {"name=" + zoe_in_two}).name, zoe);
  // A path is the file system's, which compares bytes.
  EXPECT_EQ(read_yaml("references: " + zoe_in_two + "\n").references, "/configs/" + zoe_in_two);
  EXPECT_THAT(refusal("references: a\nname: caf\xE9\n"), HasSubstr("run.yaml:2: is not UTF-8: byte 10 of the line is 0xE9"));
  EXPECT_THAT(refusal("references: caf\xE9\n"), HasSubstr("run.yaml:1: is not UTF-8"));
  EXPECT_THAT(refusal(std::string("\xFF\xFEr\0e\0", 6)), HasSubstr("UTF-16"));
  EXPECT_THAT(refusal(good, {"name=caf\xE9"}), HasSubstr("--set name: is not UTF-8: byte 9 is 0xE9"));
  EXPECT_THAT(refusal(good + "name: \"a\\0b\"\n"), AllOf(HasSubstr("run.yaml:2"), HasSubstr("zero byte")));
  try {
    read_yaml("references: photos\n", {}, "/caf\xE9/run.yaml");
    ADD_FAILURE() << "was accepted";
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("references"), HasSubstr("/caf\\xE9/photos")));
  }
}

TEST(Reader, Aliases) {
  const Root options = read_yaml(good + "prompts: &p [a, b]\nrewards: [id]\noptimize:\n  weights: &w [1, 2]\n  milestones: *w\n");
  EXPECT_EQ(options.optimize.milestones, (std::vector<std::int64_t>{1, 2}));
  EXPECT_THAT(refusal(good + "optimize:\n  <<: {beta: 1}\n"), HasSubstr("merge keys"));
  // Every level doubles: expanded it would be 2^30 values.
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 30; ++i)
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + ", *a" + std::to_string(i - 1) + "]\n";
  EXPECT_THAT(refusal(bomb), HasSubstr("aliases are expanded"));
  std::string deep = "name: ";
  for (int i = 0; i < 100; ++i) deep += "[";
  for (int i = 0; i < 100; ++i) deep += "]";
  EXPECT_THAT(refusal(deep), HasSubstr("nested deeper"));
  EXPECT_THAT(refusal("name: &a [*a]\n"), AllOf(HasSubstr("run.yaml"), Not(HasSubstr("missing"))));
}

TEST(Reader, Overrides) {
  const Root options = read_yaml(good + "optimize:\n  beta: 7\n  steps: 5\n", {"optimize.beta=50", "name=a: [b", "prompts=[x, y]", "workers=3", "workers=4",
                                                                               "optimize.clip=false", "optimize={steps: 6}", "references=here"});
  EXPECT_EQ(options.optimize.beta, 50);
  EXPECT_EQ(options.optimize.steps, 6);
  EXPECT_FALSE(options.optimize.clip);
  EXPECT_EQ(options.name, "a: [b");
  EXPECT_EQ(options.prompts, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(options.workers, 4);
  // A relative path of the command line starts where the user stands.
  EXPECT_EQ(options.references, (std::filesystem::current_path() / "here").string());
  EXPECT_EQ(read_yaml(good, {"name=a: b"}).name, "a: b");
  EXPECT_EQ(read_yaml(good, {"name=[a]"}).name, "[a]");
  EXPECT_EQ(read_yaml(good, {"name=\"q\""}).name, "q");
  EXPECT_EQ(read_yaml(good, {"name=a=b"}).name, "a=b");
  EXPECT_EQ(read_yaml(good, {"name="}).name, "");
  EXPECT_EQ(read_yaml(good + "optimize:\n", {"optimize.beta=3"}).optimize.beta, 3);
  EXPECT_THAT(refusal(good, {"optimize.bata=50"}), AllOf(HasSubstr("--set optimize.bata: unknown key 'optimize.bata'"), HasSubstr("'beta'")));
  EXPECT_THAT(refusal(good, {"optimize.beta=x"}), HasSubstr("--set optimize.beta: optimize.beta: found the word x, expected a number"));
  EXPECT_THAT(refusal(good, {"optimize.beta="}), HasSubstr("found no value, expected a number"));
  EXPECT_THAT(refusal(good, {"optimize.beta"}), HasSubstr("expected section.key=value"));
  EXPECT_THAT(refusal(good, {"=1"}), HasSubstr("expected section.key=value"));
  EXPECT_THAT(refusal(good, {"optimize..beta=1"}), HasSubstr("empty part"));
  EXPECT_THAT(refusal(good + "name: x\n", {"name.beta=1"}), HasSubstr("'name' is the word x at /configs/run.yaml:2, not a section"));
}

TEST(Reader, PathsAreRelativeToTheFile) {
  EXPECT_EQ(read_yaml("references: a/../b\n").references, "/configs/b");
  EXPECT_EQ(read_yaml("references: /abs/x/\n").references, "/abs/x");
  EXPECT_EQ(read_yaml("references: ''\n").references, "");
  ::setenv("HOME", "/home/somebody", 1);
  EXPECT_EQ(read_yaml("references: ~/photos\n").references, "/home/somebody/photos");
  Root options;
  read_text("references: photos\n", "relative.yaml", described(options));
  EXPECT_EQ(options.references, (std::filesystem::current_path() / "photos").string());
}

struct Arms {
  NamedPaths runs = {{"default", "/default"}};
};
void describe(Fields& fields, Arms& options) { fields.named_paths("runs", options.runs, {.help = "other runs"}); }

Arms read_arms(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  Arms options;
  read_text(yaml, "/configs/run.yaml", described(options), overrides);
  return options;
}

TEST(Reader, NamedPathsKeepTheOrderOfTheFile) {
  const auto here = std::filesystem::current_path();
  EXPECT_EQ(read_arms("{}").runs, (NamedPaths{{"default", "/default"}}));
  EXPECT_EQ(read_arms("runs: {z pairs: ../runs/z/, a: /a}").runs, (NamedPaths{{"z pairs", "/runs/z"}, {"a", "/a"}}));
  EXPECT_EQ(read_arms("runs:\n  z: z\n  a: '1e3'\n").runs, (NamedPaths{{"z", "/configs/z"}, {"a", "/configs/1e3"}}));
  EXPECT_EQ(read_arms("runs: {z: z}", {"runs.a=b"}).runs, (NamedPaths{{"z", "/configs/z"}, {"a", (here / "b").string()}}));
  EXPECT_EQ(read_arms("runs: {z: z}", {"runs={y: /y}"}).runs, (NamedPaths{{"z", "/configs/z"}, {"y", "/y"}}));
  EXPECT_TRUE(read_arms("{}", {"runs="}).runs.empty());
  for (const char* wrong : {"runs: [a, b]", "runs: a", "runs: {a: }", "runs: {a: ''}", "runs: {a: [b]}"})
    EXPECT_THROW(read_arms(wrong), base::UserError) << wrong;
}

TEST(Reader, NamedPathsAreWrittenAsTheyAreRead) {
  Arms options{{{"z \"pairs\"", "/z: 1"}, {"a", "/a"}}};
  EXPECT_EQ(resolved_yaml(described(options), false), "runs: {\"z \\\"pairs\\\"\": \"/z: 1\", \"a\": \"/a\"}\n");
  EXPECT_EQ(read_arms(resolved_yaml(described(options))).runs, options.runs);
  options.runs.clear();
  EXPECT_TRUE(read_arms(resolved_yaml(described(options))).runs.empty());
}

TEST(Reader, Files) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / ("config_reader_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "a.yaml") << "references: photos\n";
  std::ofstream(folder / "empty.yaml");
  Root options;
  read_into(folder / "a.yaml", options, {"workers=9"});
  EXPECT_EQ(options.references, (folder / "photos").string());
  EXPECT_EQ(options.workers, 9);
  EXPECT_THROW(read_into(folder / "absent.yaml", options), base::UserError);
  EXPECT_THROW(read_into(folder, options), base::UserError);
  try {
    read_into(folder / "empty.yaml", options);
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("'references' is missing"));
  }
  std::filesystem::remove_all(folder);
}

// Whatever stands in the file, it is read or refused with a message; nothing else leaves the reader.
TEST(Reader, RandomChangesAreReadOrRefused) {
  const std::string seed =
      "name: 'run: 1'\nreferences: &r ../photos\ndetector: none\nprompts: [one, \"two\"]\nrewards:\n- semantic\noptimize:\n  beta: 1e-4\n  clip: false\n  "
      "weights: [1, .5]\n";
  std::mt19937 random(7);
  const std::string alphabet = " \t\n:-[]{}&*!|>'\"#%@`,?0a\xff";
  int accepted = 0, refused = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    std::string yaml = seed;
    for (int change = 0; change <= static_cast<int>(random() % 3); ++change) {
      const std::size_t at = random() % yaml.size();
      switch (random() % 3) {
        case 0: yaml[at] = alphabet[random() % alphabet.size()]; break;
        case 1: yaml.insert(at, 1, alphabet[random() % alphabet.size()]); break;
        default: yaml.erase(at, 1 + random() % 4); break;
      }
      if (yaml.empty()) break;
    }
    try {
      read_yaml(yaml);
      ++accepted;
    } catch (const base::UserError& error) {
      EXPECT_THAT(error.what(), ::testing::StartsWith("/configs/run.yaml")) << yaml;
      ++refused;
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace magicid::config
