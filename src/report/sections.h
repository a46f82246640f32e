// The page's sections, each a <section> with a heading, or in words what is not there yet.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "report/html.h"
#include "report/media.h"
#include "report/report.h"

namespace magicid::report {

struct Page {
  const ReportData& data;
  const ReportOptions& options;
  VideoShelf& shelf;
  std::map<std::string, std::size_t> candidates;  // key -> index
  std::vector<std::string> short_names;           // of candidates: "V_t 7"
};

// "still of a reference", "initial model", "fine-tuned model"
std::string source_in_words(preference::Source source);
int group_of(preference::Source source);  // palette class

Html references_section(Page& page);
Html evaluation_section(Page& page);
Html pairs_section(Page& page);
Html candidates_section(Page& page);
Html training_section(Page& page);
Html adapters_section(Page& page);
Html settings_section(Page& page);

// Reserves the videos in order of importance.
void reserve_evaluation(Page& page);
void reserve_pairs(Page& page);
void reserve_previews(Page& page);
void reserve_candidates(Page& page);

// <section id=... aria-labelledby=...><h2>title</h2> ... and its end.
Html section_start(const Html& id, std::string_view title);
Html section_end();
Html empty_state(std::string_view words);

// style.cpp, script.cpp
Html style_sheet();
Html script();

}  // namespace magicid::report
