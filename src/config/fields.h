// Options that describe themselves. A room declares a plain struct with defaults and one function that names its fields:
//
//   struct Options { std::int64_t steps = 1000; double learning_rate = 1e-4; std::string detector = "haar"; };
//   void describe(config::Fields& fields, Options& options) {
//     fields.integer("steps", options.steps, {.help = "optimizer steps", .minimum = 1});
//     fields.number("learning_rate", options.learning_rate, {.help = "peak learning rate of AdamW", .above = 0});
//     fields.choice("detector", options.detector, {"yunet", "haar", "none"}, {.help = "face detector"});
//   }
//
// describe() must not depend on the values that it meets: it is called several times, to list keys, to read and to write.
//
// The same description reads YAML (with line numbers in errors, unknown keys refused with the nearest valid name), writes the
// resolved file, prints the reference in docs/configuration.md, and gives the JSON from which a stage's fingerprint is made.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace magicid::config {

struct Help {
  std::string help;                    // one line: what it does, with its unit
  std::optional<double> minimum = {};  // inclusive bounds
  std::optional<double> maximum = {};
  std::optional<double> above = {};  // exclusive lower bound
  bool fingerprint = true;           // false: does not change results (log level, number of workers), so it reruns nothing;
                                     // also for a path whose contents the stage hashes as an input
  bool required = false;             // no sensible default: the file must give it
};

// Names of the user's own choice, each with a path, in the order of the file.
using NamedPaths = std::vector<std::pair<std::string, std::string>>;

class Fields {
 public:
  virtual ~Fields() = default;
  virtual void integer(const std::string& key, std::int64_t& value, const Help& help) = 0;
  virtual void number(const std::string& key, double& value, const Help& help) = 0;
  virtual void boolean(const std::string& key, bool& value, const Help& help) = 0;
  virtual void text(const std::string& key, std::string& value, const Help& help) = 0;
  // A path: relative paths in a YAML file are relative to that file, those of the command line to the current folder; "~/" is the
  // home folder. Reading makes them absolute. Empty means "not given".
  virtual void path(const std::string& key, std::string& value, const Help& help) = 0;
  virtual void choice(const std::string& key, std::string& value, const std::vector<std::string>& allowed, const Help& help) = 0;
  // Lists are written [a, b] or as a block of dashes; bounds hold for each element.
  virtual void numbers(const std::string& key, std::vector<double>& value, const Help& help) = 0;
  virtual void integers(const std::string& key, std::vector<std::int64_t>& value, const Help& help) = 0;
  virtual void texts(const std::string& key, std::vector<std::string>& value, const Help& help) = 0;
  // A list without repetitions, each element one of `allowed`.
  virtual void choices(const std::string& key, std::vector<std::string>& value, const std::vector<std::string>& allowed, const Help& help) = 0;
  // A mapping {name: path, ...} or a block of "name: path" lines; paths are read as path() reads them.
  virtual void named_paths(const std::string& key, NamedPaths& value, const Help& help) = 0;
  // A nested mapping.
  virtual void section(const std::string& key, const std::string& help, const std::function<void(Fields&)>& describe_inside) = 0;
  // A rule over several keys: `problem` is empty when it holds, else what is wrong; `key` locates it. Checked only when reading.
  virtual void require(const std::string& key, bool holds, const std::string& problem) = 0;

  template <class Options>
  void nested(const std::string& key, Options& options, const std::string& help) {
    section(key, help, [&](Fields& inner) { describe(inner, options); });  // describe() is found beside Options
  }
};

}  // namespace magicid::config
