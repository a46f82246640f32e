// Writes the sample page, to be looked at in a browser: report_example OUT.html FOLDER [empty|small-budget]. FOLDER holds *.mp4 and *.jpg.
#include <algorithm>
#include <cstdio>

#include "report/report.h"
#include "unit/report/sample_data.h"

namespace {

std::vector<std::filesystem::path> files(const std::filesystem::path& folder, const std::string& extension) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == extension) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

int main(int count, char** arguments) {
  using namespace magicid;
  if (count < 3) {
    std::fprintf(stderr, "usage: report_example OUT.html FOLDER [empty|small-budget]\n");
    return 2;
  }
  const auto videos = files(arguments[2], ".mp4"), pictures = files(arguments[2], ".jpg");
  const auto pick = [](const std::vector<std::filesystem::path>& from, std::size_t i) {
    return from.empty() ? report::Media{} : report::Media{.path = from[i % from.size()]};
  };
  const std::string mode = count > 3 ? arguments[3] : "";
  report::ReportData data;
  report::ReportOptions options;
  if (mode != "empty") data = tests::sample_data([&](std::size_t i) { return pick(videos, i); }, [&](std::size_t i) { return pick(pictures, i); });
  if (mode == "small-budget") options.video_budget_bytes = 100'000;
  report::write_report(arguments[1], data, options);
}
