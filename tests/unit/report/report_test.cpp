#include "report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "report/html.h"
#include "report/media.h"
#include "support/temporary_folder.h"
#include "unit/report/markup_check.h"
#include "unit/report/sample_data.h"

namespace magicid::report {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using namespace std::string_literals;

std::string word(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8), static_cast<char>(value)};
}

// The boxes that the page looks at; `filler` makes videos differ and sets their size.
std::string small_mp4(std::size_t filler, std::uint32_t width = 320, std::uint32_t height = 192) {
  const std::string header = std::string(76, '\0') + word(width << 16) + word(height << 16);
  return word(16) + "ftypisom" + word(512) + word(8 + static_cast<std::uint32_t>(header.size())) + "tkhd" + header + std::string(filler, 'x');
}

std::string small_jpeg() { return "\xFF\xD8\xFF\xE0" + std::string(40, 'j'); }

ReportData sample() {
  return tests::sample_data([](std::size_t i) { return Media{.bytes = small_mp4(300 + i)}; }, [](std::size_t) { return Media{.bytes = small_jpeg()}; }, 14,
                            120);
}

tests::Markup checked(const std::string& page) {
  tests::Markup markup = tests::MarkupReader(page).read();
  EXPECT_THAT(markup.errors, IsEmpty());
  return markup;
}

TEST(MarkupCheck, FindsFaults) {
  const auto errors = [](const std::string& body) { return tests::MarkupReader("<!DOCTYPE html>\n<html>" + body + "</html>").read().errors; };
  EXPECT_THAT(errors("<p title=\"a\">b &amp; c</p><img alt=\"\" />"), IsEmpty());
  for (const char* faulty : {"<p>", "</p>", "<p><b></p></b>", "a > b", "a < b", "a & b", "<p title=a></p>", "<p id=\"x\"></p><p id=\"x\"></p>",
                             "<a href=\"#no\"></a>", "<div />", "<p x=\"1\" x=\"2\"></p>"}) {
    EXPECT_THAT(errors(faulty), Not(IsEmpty())) << faulty;
  }
}

TEST(Report, IsWellFormedAndHoldsEverything) {
  const ReportData data = sample();
  const std::string page = render_report(data);
  const tests::Markup markup = checked(page);
  const auto says = [&](const std::string& what) { EXPECT_THAT(markup.words, HasSubstr(what)); };
  for (const auto& what : {data.title, data.run_name, data.created, data.code_version, data.notice, "sks woman"s}) says(what);
  for (const Reference& reference : data.references) says(reference.name);
  for (const ShownCandidate& candidate : data.candidates) {
    says(candidate.key);
    says(candidate.prompt);
    says(candidate.rejected);
    says(format_number(candidate.raw.dynamics));
    says(format_fixed(candidate.normalised.semantics, 1));
  }
  for (const PreferencePair& pair : data.pairs) {
    says(pair.condition);
    says(format_signed(pair.gap.identity, 1));
    says(format_signed(pair.gap.semantics, 1));
  }
  for (const std::string& note : data.selection_notes) says(note);
  for (const EvaluationArm& arm : data.evaluation.arms) {
    says(arm.label);
    for (const Estimate& estimate : arm.estimates) {
      says(format_number(estimate.mean));
      says(format_number(estimate.low) + " to " + format_number(estimate.high));
    }
  }
  for (const EvaluationMetric& metric : data.evaluation.metrics) says(metric.explanation);
  for (const AdapterFile& adapter : data.adapters) {
    says(adapter.name);
    says(format_bytes(adapter.bytes));
    says(adapter.snippet);
  }
  for (const std::string& step : data.next_steps) says(step);
  for (const Setting& setting : data.settings) {
    says(setting.key);
    says(setting.value);
  }
  says(data.settings_yaml);
  for (const char* title : {"Loss", "Implicit reward accuracy", "Reward margin", "Error on winners", "Error on losers", "Learning rate", "Gradient norm",
                            "dynamic share", "sigma", "reconstruct", "optimize"})
    says(title);

  std::size_t identity = 0;
  for (const PreferencePair& pair : data.pairs) identity += pair.kind == preference::PairKind::identity;
  EXPECT_GT(identity, 12U);
  EXPECT_GT(data.pairs.size() - identity, 12U);
  says("Show the other " + std::to_string(identity - 12) + " identity pairs");
  says("Identity pair " + std::to_string(identity));
  says("Dynamic pair " + std::to_string(data.pairs.size() - identity));
  // One sign in the scatter for each candidate with rewards, and a link to its entry.
  std::size_t placed = 0;
  for (const ShownCandidate& candidate : data.candidates) placed += std::isfinite(candidate.normalised.identity);
  std::size_t signs = 0;
  for (const tests::Element& link : markup.with("a", "class")) signs += link.attributes.at("class").starts_with("pt ");
  EXPECT_EQ(signs, placed);
  EXPECT_LT(placed, data.candidates.size());
  for (const tests::Element& image : markup.with("img", "src")) EXPECT_FALSE(image.attributes.at("alt").empty());
  EXPECT_EQ(markup.count("img"), data.references.size());
  EXPECT_EQ(markup.count("h1"), 1U);
}

TEST(Report, LoadsNothingFromOutside) {
  const std::string page = render_report(sample());
  const tests::Markup markup = checked(page);
  EXPECT_THAT(page, Not(HasSubstr("http://")));
  EXPECT_THAT(page, Not(HasSubstr("https://")));
  EXPECT_THAT(page, Not(HasSubstr("@import")));
  EXPECT_THAT(page, Not(HasSubstr("url(")));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  for (const tests::Element& element : markup.elements) {
    const auto source = element.attributes.find("src"), link = element.attributes.find("href");
    EXPECT_TRUE(source == element.attributes.end() || source->second.starts_with("data:")) << element.name;
    EXPECT_TRUE(link == element.attributes.end() || link->second.starts_with("#")) << link->second;
    EXPECT_NE(element.name, "link");
  }
}

TEST(Report, VideosAreMutedLoopInlineAndNamed) {
  const tests::Markup markup = checked(render_report(sample()));
  std::size_t embedded = 0, autoplaying = 0;
  for (const tests::Element& video : markup.with("video", "aria-label")) {
    for (const char* attribute : {"muted", "loop", "playsinline", "controls"}) EXPECT_TRUE(video.attributes.contains(attribute)) << attribute;
    EXPECT_EQ(video.attributes.at("width"), "320");
    EXPECT_EQ(video.attributes.at("height"), "192");
    embedded += video.attributes.contains("src");
    autoplaying += video.attributes.contains("autoplay");
    EXPECT_NE(video.attributes.contains("src"), video.attributes.contains("data-same"));
  }
  EXPECT_EQ(embedded, sample().candidates.size() + sample().evaluation.samples.size());  // each once
  EXPECT_GT(autoplaying, 4U);
  EXPECT_LT(autoplaying, 40U);  // browsers refuse more than about 75 on a page
}

TEST(Report, TextsOfUsersAreEscapedWhereverTheyStand) {
  const std::string evil = "\"'><script>alert(1)</script><!-- & \xFF ]]> </style>";
  ReportData data = sample();
  data.title = data.run_name = data.created = data.code_version = data.notice = evil;
  data.subject = {evil, evil};
  data.references[0].name = evil;
  for (ShownCandidate& candidate : data.candidates) candidate.prompt = candidate.rejected = evil;
  data.candidates[0].key = evil;
  for (PreferencePair& pair : data.pairs) pair.condition = evil;
  data.pairs[0].winner = evil + "unknown";
  data.selection_notes = data.next_steps = {evil};
  data.training.push_back({.name = evil, .records = {{1, {{evil, 1.0}}}}});
  data.evaluation.interval = evil;
  data.evaluation.metrics[0] = {.name = evil, .label = "", .explanation = evil};
  data.evaluation.arms[0].label = evil;
  for (EvaluationSample& sample : data.evaluation.samples) sample.prompt = evil;
  data.adapters = {{.name = evil, .format = evil, .description = evil, .snippet = evil}};
  data.settings = {{evil, evil}};
  data.settings_yaml = evil;
  data.stage_times = {{evil, 1}};
  const std::string page = render_report(data);
  const tests::Markup markup = checked(page);
  EXPECT_EQ(markup.count("script"), 1U);
  EXPECT_EQ(markup.count("style"), 1U);
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("\xFF")));
  EXPECT_THAT(markup.words, HasSubstr("<script>alert(1)</script>"));  // shown as it was typed
}

TEST(Report, IsTheSameBytesForTheSameData) { EXPECT_EQ(render_report(sample()), render_report(sample())); }

TEST(Report, SaysInWordsWhatIsNotThere) {
  const std::string page = render_report({});
  const tests::Markup markup = checked(page);
  for (const char* what : {"No references", "No pairs have been selected", "No candidates have been scored", "No training metrics",
                           "Nothing has been evaluated", "No adapter has been exported", "settings of this run were not kept"}) {
    EXPECT_THAT(markup.words, HasSubstr(what));
  }
  EXPECT_THAT(markup.with("video", "src"), IsEmpty());
}

TEST(Report, PreviewsAreCurvesBesideTheLossAndVideosByStep) {
  ReportData data = sample();
  TrainingStage& stage = data.training[1];
  for (std::int64_t i = 0; i < 9; ++i) {
    ShownPreviewRound round{.step = 50 * i, .mean = {0.3 + 0.01 * static_cast<double>(i), 5.0, unknown}};
    for (const char* prompt : {"sks woman dances", "sks woman & a dog"})
      round.videos.push_back({.prompt = prompt,
                              .raw = {0.25, i == 0 ? unknown : 7.125, 0.5},
                              .video = {.bytes = small_mp4(5000 + static_cast<std::size_t>(i) * 2 + (prompt[10] == '&'))}});
    stage.previews.push_back(round);
  }
  stage.previews[8].videos.pop_back();
  stage.taken = 150;
  stage.taken_why = "its identity is the highest";
  const std::string page = render_report(data);
  const tests::Markup markup = checked(page);
  const auto says = [&](const std::string& what) { EXPECT_THAT(markup.words, HasSubstr(what)); };
  for (const char* what : {"Identity of previews", "Dynamics of previews", "sks woman & a dog", "7.12",
                           "The result is the adapter of step 150: its identity is the highest.", "taken", "No preview of this prompt."})
    says(what);
  EXPECT_THAT(markup.words, Not(HasSubstr("Semantics of previews"))) << "no value of it is known";
  // The first, the last, the taken one and others between.
  says("Show previews of 6 steps");
  for (const int step : {0, 100, 150, 200, 300, 400}) EXPECT_THAT(page, HasSubstr("step " + std::to_string(step) + ": sks woman dances"));
  EXPECT_THAT(page, Not(HasSubstr("step 50: sks woman dances")));
  EXPECT_LT(page.find("<h4>Loss</h4>", page.find("Hybrid preference optimization")), page.find("<h4>Identity of previews</h4>"));
  EXPECT_LT(page.find("<h4>Identity of previews</h4>"), page.find("<h4>Implicit reward accuracy</h4>"));
}

TEST(Report, PartsMayBeMissing) {
  ReportData data = sample();
  data.pairs.erase(std::remove_if(data.pairs.begin(), data.pairs.end(), [](const PreferencePair& pair) { return pair.kind == preference::PairKind::dynamic; }),
                   data.pairs.end());
  data.candidates.erase(data.candidates.begin(), data.candidates.begin() + 5);  // winners of identity pairs
  for (ShownCandidate& candidate : data.candidates) candidate.normalised = {};
  data.training = {{.name = "reconstruct"}, {.name = "optimize", .records = {{1, {{"loss", unknown}}}}}};
  data.evaluation.samples.resize(4);
  data.evaluation.arms[2].estimates.assign(3, {});
  const tests::Markup markup = checked(render_report(data));
  for (const char* what : {"No dynamic pairs were selected", "unknown candidate", "nothing to draw", "No steps have been recorded", "No sample of this prompt"})
    EXPECT_THAT(markup.words, HasSubstr(what));
}

TEST(Report, ContradictionsAreErrors) {
  ReportData twice = sample();
  twice.candidates[1].key = twice.candidates[0].key;
  EXPECT_THROW(render_report(twice), base::InvariantError);
  ReportData short_arm = sample();
  short_arm.evaluation.arms[0].estimates.pop_back();
  EXPECT_THROW(render_report(short_arm), base::InvariantError);
  ReportData short_sample = sample();
  short_sample.evaluation.samples[3].values.pop_back();
  EXPECT_THROW(render_report(short_sample), base::InvariantError);
}

std::int64_t embedded_bytes(const tests::Markup& markup) {
  std::int64_t bytes = 0;
  for (const tests::Element& video : markup.with("video", "src"))
    bytes += static_cast<std::int64_t>(video.attributes.at("src").size() - "data:video/mp4;base64,"s.size());
  return bytes;
}

TEST(Budget, IsKeptAndSpentOnWhatMattersFirst) {
  const ReportData data = sample();
  std::int64_t evaluation = 0;
  for (const EvaluationSample& sample : data.evaluation.samples) evaluation += base64_size(static_cast<std::int64_t>(sample.video.bytes.size()));
  const ReportOptions options{.video_budget_bytes = evaluation + 3000};
  const tests::Markup markup = checked(render_report(data, options));
  EXPECT_LE(embedded_bytes(markup), options.video_budget_bytes);
  EXPECT_GT(embedded_bytes(markup), evaluation);
  for (const EvaluationArm& arm : data.evaluation.arms) {
    for (const std::string& prompt : tests::sample_prompts()) {
      std::size_t found = 0;
      for (const tests::Element& video : markup.with("video", "src")) found += video.attributes.at("aria-label") == arm.label + ": " + prompt;
      EXPECT_EQ(found, 1U) << arm.label << prompt;
    }
  }
  EXPECT_THAT(markup.words, HasSubstr("were left out to stay within"));
  EXPECT_THAT(markup.words, HasSubstr("Not embedded, to keep this page small."));
  EXPECT_THAT(markup.words, HasSubstr("Dynamic pair 30"));  // still listed

  const tests::Markup whole = checked(render_report(data));
  EXPECT_THAT(whole.words, Not(HasSubstr("were left out")));
  EXPECT_GT(embedded_bytes(whole), embedded_bytes(markup));
  EXPECT_EQ(embedded_bytes(checked(render_report(data, {.video_budget_bytes = 0}))), 0);
}

TEST(Budget, APairIsEmbeddedWholeOrNotAtAll) {
  const Media small{.bytes = small_mp4(10)}, large{.bytes = small_mp4(9000)};
  VideoShelf shelf(1000);
  EXPECT_FALSE(shelf.reserve({&small, &large}));
  EXPECT_THAT(shelf.video(small, "a", false).str(), HasSubstr("Not embedded"));
  EXPECT_EQ(shelf.left_out(), 2U);
  EXPECT_TRUE(shelf.reserve({&small, &small}));  // counted once
  EXPECT_TRUE(shelf.reserve({&small}));
  EXPECT_EQ(shelf.left_out(), 1U);
  EXPECT_THAT(shelf.video(small, "a", false).str(), HasSubstr("id=\"v1\""));
  EXPECT_THAT(shelf.video(small, "b", false).str(), HasSubstr("data-same=\"v1\""));
  EXPECT_EQ(shelf.embedded(), 1U);
  EXPECT_EQ(shelf.embedded_bytes(), base64_size(static_cast<std::int64_t>(small.bytes.size())));
}

TEST(Files, AreEmbeddedOnceAndMissingOnesAreNamed) {
  const tests::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "previews");
  tests::write_bytes(folder / "previews/a.mp4", small_mp4(50, 96, 64));
  tests::write_bytes(folder / "previews/text.mp4", "this is no video");
  tests::write_bytes(folder / "face.jpg", small_jpeg());
  ReportData data;
  data.references = {{"face.jpg", {.path = folder / "face.jpg"}}, {"gone.jpg", {.path = folder / "gone.jpg"}}};
  const std::pair<const char*, const char*> previews[] = {{"k1", "a.mp4"}, {"k2", "../previews/a.mp4"}, {"k3", "gone.mp4"}, {"k4", "text.mp4"}};
  for (const auto& [key, name] : previews) data.candidates.push_back({.key = key, .preview = {.path = folder / "previews" / name}});
  write_report(folder / "report.html", data);
  const std::string page = tests::read_bytes(folder / "report.html");
  EXPECT_EQ(page, render_report(data));
  const tests::Markup markup = checked(page);
  ASSERT_EQ(markup.with("video", "src").size(), 1U);
  EXPECT_EQ(markup.with("video", "src")[0].attributes.at("src"), "data:video/mp4;base64," + base64(small_mp4(50, 96, 64)));
  EXPECT_EQ(markup.with("video", "src")[0].attributes.at("width"), "96");
  EXPECT_EQ(markup.with("video", "data-same").size(), 1U);
  EXPECT_EQ(markup.count("img"), 1U);
  EXPECT_THAT(markup.words, HasSubstr("The video's file is missing or empty: previews/gone.mp4"));
  EXPECT_THAT(markup.words, HasSubstr("This is not an MP4 or WebM video: previews/text.mp4"));
  EXPECT_THAT(markup.words, HasSubstr("gone.jpg"));
  EXPECT_THAT(page, Not(HasSubstr(folder.path().parent_path().string() + "/")));  // nobody's folders are passed on
  EXPECT_THROW(write_report(folder / "face.jpg/report.html", data), base::SystemError);
}

TEST(Files, TypesComeFromTheirFirstBytes) {
  EXPECT_EQ(media_type(small_jpeg()), "image/jpeg");
  EXPECT_EQ(media_type("\x89PNG\r\n\x1A\n...."), "image/png");
  EXPECT_EQ(media_type("RIFF....WEBPVP8 "), "image/webp");
  EXPECT_EQ(media_type(small_mp4(0)), "video/mp4");
  EXPECT_EQ(media_type("\x1A\x45\xDF\xA3...."), "video/webm");
  EXPECT_EQ(media_type("<svg onload='x'>"), "");
  EXPECT_EQ(media_type("RIFF"), "");
  EXPECT_EQ(media_type(""), "");
  EXPECT_EQ(mp4_frame_size("....tkhd\0"s).width, 0);
}

TEST(Report, FiguresOfEveryPromptAndWhatForbidsAComparison) {
  ReportData data = sample();
  Evaluation& e = data.evaluation;
  e.metrics.push_back({.name = "clip_frechet", .label = "CLIP distance", .explanation = "Absent: it needs real videos.", .higher_is_better = false});
  for (EvaluationArm& arm : e.arms) arm.estimates.push_back({});
  for (EvaluationSample& s : e.samples) s.values.push_back(unknown);
  e.arms[1].videos = 37;
  e.notes = {"Arm <other> has videos of another size"};
  e.by_prompt = {{.arm = "hpo", .prompt = "she <waves>", .estimates = {{0.614, 0.5, 0.75}, {7.25, unknown, unknown}, {26, 25, 27}, {}}},
                 {.arm = "base", .prompt = "she <waves>", .estimates = {{0.11, unknown, unknown}, {9.5, unknown, unknown}, {26, 25, 27}, {}}}};
  const std::string page = render_report(data);
  const tests::Markup markup = checked(page);
  for (const char* what : {"37 videos", "Arm <other> has videos of another size", "Figures of every prompt", "she <waves>", "0.614", "0.500 to 0.750", "7.25",
                           "Absent: it needs real videos."})
    EXPECT_THAT(markup.words, HasSubstr(what));
  // The distance has a column in the arms' table, lower is better, and none in the prompts' table, where nobody has it.
  const std::size_t table = page.find("Figures of every prompt");
  EXPECT_NE(page.substr(0, table).find("CLIP distance<span class=\"quiet\">lower is better"), std::string::npos);
  EXPECT_EQ(page.substr(table, page.find("</table>", table) - table).find("CLIP distance"), std::string::npos);
  e.by_prompt[0].estimates.pop_back();
  EXPECT_THROW(render_report(data), base::InvariantError);
}

TEST(Report, WithoutIntervalsNoArmIsBest) {
  ReportData data = sample();
  data.evaluation.metrics = {{.name = "fvd", .higher_is_better = false}};
  for (std::size_t i = 0; i < data.evaluation.arms.size(); ++i) data.evaluation.arms[i].estimates = {{.mean = 100.0 * static_cast<double>(i)}};
  for (EvaluationSample& s : data.evaluation.samples) s.values = {1};
  EXPECT_EQ(render_report(data).find("tag best"), std::string::npos);
  for (EvaluationArm& arm : data.evaluation.arms) arm.estimates[0] = {arm.estimates[0].mean, arm.estimates[0].mean - 1, arm.estimates[0].mean + 1};
  EXPECT_NE(render_report(data).find("tag best"), std::string::npos);
}

}  // namespace
}  // namespace magicid::report
