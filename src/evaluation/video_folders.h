// Folders of finished videos, of other methods or of the real world, as evaluate.folders and evaluate.real_videos name them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace magicid::evaluation {

struct FolderVideo {
  std::string file;         // its name in the folder
  std::string prompt;       // empty for real videos
  std::int64_t sample = 0;  // which of the videos of its prompt
  std::string hash;         // of the file's bytes
};

// All videos of `folder` (media::list_videos), sorted by name, with the prompts of the table in it, which is either
//   prompts.csv    a header with the columns file and prompt, others are ignored (RFC 4180), or
//   prompts.jsonl  one JSON object a line with the texts "file" and "prompt",
// or, where there is no table, those in the file names: PROMPT-INDEX.mp4, as VBench names its videos. Samples of one prompt are numbered in the table's order;
// by INDEX in file names. `name` is what errors call the folder. Throws one UserError with every problem: a file that is no video (its first frame is decoded),
// a video that the table lacks, a file that is not there or stands twice, an empty prompt, a text that is not UTF-8, both tables.
std::vector<FolderVideo> read_video_folder(const std::string& name, const std::filesystem::path& folder);

// The first `count` videos of the folder, sorted by name. Throws UserError as above; `count` larger than their number gives all.
std::vector<FolderVideo> read_real_videos(const std::string& name, const std::filesystem::path& folder, std::size_t count);

}  // namespace magicid::evaluation
