#include "evaluation/video_folders.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/hash.h"
#include "base/names.h"
#include "base/text.h"
#include "media/video.h"
#include "storage/atomic_file.h"
#include "storage/csv.h"

namespace magicid::evaluation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Everything that is wrong, so that a user mends it in one go.
struct Problems {
  std::vector<std::string> list;

  template <class... Parts>
  void add(const Parts&... parts) {
    list.push_back(base::concat(parts...));
  }
  void throw_if_any(const std::string& name) const {
    constexpr std::size_t shown = 12;
    if (list.empty()) return;
    std::string text;
    for (std::size_t i = 0; i < std::min(shown, list.size()); ++i) text += (list.size() > 1 ? "\n  " : "") + list[i];
    if (list.size() > shown) text += base::concat("\n  and ", list.size() - shown, " more");
    throw base::UserError(name, ": ", text);
  }
};

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

struct TableRow {
  std::string where, file, prompt;  // the texts as bytes
};

std::vector<TableRow> read_csv_table(const fs::path& path) {
  const std::string bytes = storage::read_text(path);
  // Rows in another encoding are told one by one; of UTF-16 not even the commas could be read.
  if (base::looks_like_utf16(bytes)) base::decode_file(bytes, path.string());
  const auto rows = storage::read_csv(bytes, path.string());
  std::vector<TableRow> table;
  if (rows.empty()) return table;
  std::vector<std::string> names = rows[0].cells;
  for (auto& name : names) name = trimmed(name);
  const auto column = [&](const char* wanted) {
    const auto it = std::find(names.begin(), names.end(), wanted);
    if (it == names.end())
      throw base::UserError(path.string(), ":", rows[0].line, ": its first row has no column '", wanted, "'; a header \"file,prompt\" was expected, found ",
                            base::join_names(names));
    return static_cast<std::size_t>(it - names.begin());
  };
  const std::size_t file = column("file"), prompt = column("prompt");
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const std::string where = base::concat(path.filename().string(), ":", rows[i].line);
    if (rows[i].cells.size() != names.size())
      throw base::UserError(path.parent_path().string(), "/", where, ": has ", rows[i].cells.size(), " cells, the header has ", names.size(),
                            "; a prompt with a comma needs quotes around it");
    table.push_back({where, trimmed(rows[i].cells[file]), trimmed(rows[i].cells[prompt])});
  }
  return table;
}

std::vector<TableRow> read_jsonl_table(const fs::path& path) {
  std::vector<TableRow> table;
  int number = 0;
  for (const auto& line : base::split_lines(base::decode_file(storage::read_text(path), path.string()))) {
    ++number;
    if (trimmed(line).empty()) continue;
    const json row = json::parse(line, nullptr, false);
    const auto text = [&](const char* key) -> std::string {
      if (!row.is_object() || !row.contains(key) || !row.at(key).is_string())
        throw base::UserError(path.string(), ":", number, ": is no JSON object with the text \"", key,
                              "\"; e.g. {\"file\": \"a.mp4\", \"prompt\": \"a woman waves\"} was expected");
      return trimmed(row.at(key).get<std::string>());
    };
    table.push_back({base::concat(path.filename().string(), ":", number), text("file"), text("prompt")});
  }
  return table;
}

void number_samples(std::vector<FolderVideo>& videos) {
  std::map<std::string, std::int64_t> next;
  for (auto& video : videos) video.sample = next[video.prompt]++;
}

std::vector<FolderVideo> from_table(const std::vector<TableRow>& table, const std::string& table_name, const std::set<std::string>& present,
                                    Problems& problems) {
  std::vector<FolderVideo> videos;
  base::FileNames folder;
  for (const auto& file : present) folder.add(file);
  std::map<std::string, std::string> seen;  // file -> where it stands
  const std::vector<std::string> names(present.begin(), present.end());
  for (TableRow row : table) {
    try {
      row.file = folder.find(base::decode_text(row.file, row.where));
      row.prompt = base::decode_written_text(row.prompt, row.where);
    } catch (const base::UserError& error) {
      problems.add(error.what());
      continue;
    }
    if (const auto [it, fresh] = seen.emplace(row.file, row.where); !fresh) {
      problems.add(row.where, ": '", row.file, "' stands in ", it->second, " already; a video has one prompt");
      continue;
    }
    if (!present.contains(row.file))
      problems.add(row.where, ": there is no video '", row.file, "' in the folder", base::did_you_mean(row.file, names), "; copy it there or take the row out");
    if (row.prompt.empty()) problems.add(row.where, ": the prompt of '", row.file, "' is empty");
    videos.push_back({.file = row.file, .prompt = row.prompt});
  }
  for (const auto& file : present)
    if (!seen.contains(file)) problems.add("'", file, "' has no row in ", table_name, "; add one with its prompt, or move the file away");
  number_samples(videos);
  return videos;
}

std::vector<FolderVideo> from_names(const std::set<std::string>& present, Problems& problems) {
  std::vector<FolderVideo> videos;
  std::map<std::pair<std::string, std::int64_t>, std::string> seen;
  for (const auto& file : present) {
    const std::string stem = fs::path(file).stem().string();
    const auto dash = stem.rfind('-');
    const std::string index = dash == std::string::npos ? "" : stem.substr(dash + 1),
                      prompt = dash == std::string::npos ? "" : base::compose(trimmed(stem.substr(0, dash)));
    if (prompt.empty() || index.empty() || index.size() > 9 || index.find_first_not_of("0123456789") != std::string::npos) {
      problems.add("'", file, "': its prompt is not known; write prompts.csv with the columns file,prompt into the folder, or name the file PROMPT-INDEX.mp4");
    } else if (const auto [it, fresh] = seen.emplace(std::pair(prompt, std::stoll(index)), file); !fresh) {
      problems.add("'", file, "' and '", it->second, "' have the same prompt and index; number them apart");
    } else {
      videos.push_back({.file = file, .prompt = prompt, .sample = std::stoll(index)});
    }
  }
  return videos;
}

void look_into(const fs::path& folder, std::vector<FolderVideo>& videos, Problems& problems) {
  for (auto& video : videos) {
    const fs::path path = folder / video.file;
    if (!fs::exists(path)) continue;  // a problem of the table
    try {
      media::read_video(path, {.max_frames = 1});
      video.hash = base::hash_file(path);
    } catch (const base::UserError& error) {
      problems.add(error.what());
    }
  }
}

}  // namespace

std::vector<FolderVideo> read_video_folder(const std::string& name, const fs::path& folder) {
  Problems problems;
  std::set<std::string> present;
  for (const auto& path : media::list_videos(folder)) present.insert(base::file_name(path));
  const fs::path csv = folder / "prompts.csv", jsonl = folder / "prompts.jsonl";
  const bool has_csv = fs::exists(csv), has_jsonl = fs::exists(jsonl);
  if (has_csv && has_jsonl) throw base::UserError(name, ": holds prompts.csv and prompts.jsonl; keep one of them");
  std::vector<FolderVideo> videos;
  if (has_csv) {
    videos = from_table(read_csv_table(csv), "prompts.csv", present, problems);
  } else if (has_jsonl) {
    videos = from_table(read_jsonl_table(jsonl), "prompts.jsonl", present, problems);
  } else {
    videos = from_names(present, problems);
  }
  look_into(folder, videos, problems);
  problems.throw_if_any(name);
  std::sort(videos.begin(), videos.end(), [](const auto& a, const auto& b) { return a.file < b.file; });
  return videos;
}

std::vector<FolderVideo> read_real_videos(const std::string& name, const fs::path& folder, std::size_t count) {
  Problems problems;
  std::vector<FolderVideo> videos;
  for (const auto& path : media::list_videos(folder))
    if (videos.size() < count) videos.push_back({.file = base::file_name(path)});
  look_into(folder, videos, problems);
  problems.throw_if_any(name);
  return videos;
}

}  // namespace magicid::evaluation
