#include "pretraining/record.h"

#include <map>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/text.h"
#include "config/writer.h"
#include "storage/atomic_file.h"

namespace magicid::pretraining {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// The only keys that a checkpoint may go on under other values of, while steps remain: `starts` in the record says which values held from which step on.
const std::set<std::string>& schedule_keys() {
  static const std::set<std::string> keys{"steps", "learning_rate", "warmup_steps", "schedule", "decay_steps"};
  return keys;
}

std::string hash_of_folder(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& file : fs::recursive_directory_iterator(folder)) {
    if (!file.is_regular_file()) continue;
    base::file_name(file.path());  // refuses what JSON cannot hold
    files[file.path().lexically_relative(folder).generic_string()] = base::hash_file(file.path());
  }
  return base::hash_json(files);
}

struct ChangedDeterminant {
  std::string key;
  std::string stored, present;
  bool of_the_schedule = false;
};

std::vector<ChangedDeterminant> differences(const std::string& name, const json& stored, const json& present) {
  const json defaults = determinants(name, Options(), {}, {});
  std::vector<ChangedDeterminant> found;
  const auto compare = [&](const std::string& key, const json& before, const json& now, bool of_the_schedule) {
    if (before != now) found.push_back({key, before.dump(), now.dump(), of_the_schedule});
  };
  compare("seed", stored.at("seed"), present.at("seed"), false);
  for (const auto& [key, value] : present.at("world").items())
    compare("world." + key, stored.at("world").value(key, defaults.at("world").at(key)), value, false);
  for (const auto& [key, value] : present.at("options").items())
    compare(name + "." + key, stored.at("options").value(key, defaults.at("options").at(key)), value, schedule_keys().contains(key));
  const json networks = stored.value("networks", json::object());
  for (const auto& [folder, hash] : networks.items())
    compare("model/" + folder, hash, present.value("networks", json::object()).value(folder, json("not there")), false);
  return found;
}

// What a start of training adds to the record. Without a command: nobody recorded who it was.
json start_of(const std::string& command, int ranks, std::int64_t step, const json& options) {
  json schedule;
  for (const auto& key : schedule_keys()) schedule[key] = options.at(key);
  json start{{"after_step", step}, {"schedule", schedule}};
  if (!command.empty()) start.update({{"command", command}, {"ranks", ranks}});
  return start;
}

}  // namespace

fs::path record_path(const fs::path& model) { return model / "pretraining.json"; }

json read_record(const fs::path& model) {
  const fs::path path = record_path(model);
  if (!fs::exists(path)) return json::object();
  const json parsed = json::parse(storage::read_text(path), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object())
    throw base::UserError(path.string(), ": not a record of pretraining; move it away to make all networks again from their last checkpoints");
  return parsed;
}

void write_record(const fs::path& model, const json& record) { storage::write_text_atomically(record_path(model), record.dump(2) + "\n"); }

json determinants(const std::string& name, Options options, const fs::path& model, const std::vector<std::string>& needs) {
  const json all = config::to_json(config::described(options), config::FieldSet::fingerprint);
  json about{{"world", all.at("world")}, {"seed", options.seed}, {"options", all.at(name)}};
  for (const auto& folder : needs)
    if (fs::is_directory(model / folder)) about["networks"][folder] = hash_of_folder(model / folder);
  return about;
}

bool same_determinants(const std::string& name, const json& stored, const json& present) { return differences(name, stored, present).empty(); }

void refuse_others(const std::string& name, const fs::path& where, const json& stored, const json& present, const std::string& end) {
  std::string changes, schedule;
  for (const auto& d : differences(name, stored, present)) {
    if (d.of_the_schedule && end.empty()) continue;
    changes += base::concat(changes.empty() ? "" : "; ", d.key, " is ", d.present, " now, was ", d.stored, " then");
    if (d.of_the_schedule) schedule = ". A schedule may change while steps remain, but " + end;
  }
  if (changes.empty()) return;
  throw base::UserError(where.string(), ": ", name, " was trained with something else: ", changes, schedule,
                        ". Go on with what it was then, or give another `output` folder to train anew");
}

json with_start(const json& stored, const std::string& command, int ranks, std::int64_t step, const json& options) {
  json start = start_of(command, ranks, step, options), starts = stored.value("starts", json::array());
  if (starts.empty() && step != 0) starts.push_back(start_of("", 0, 0, stored.at("options")));
  json again = start;
  if (!starts.empty()) again["after_step"] = starts.back().at("after_step");
  if (starts.empty() || starts.back() != again) starts.push_back(std::move(start));
  return starts;
}

}  // namespace magicid::pretraining
