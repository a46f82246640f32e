#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <string>
#include <tuple>

#include "miniature/names.h"
#include "miniature/world.h"

namespace magicid::miniature {
namespace {

Scene scene_of(int action, int speed, int background, int camera) {
  Scene s;
  s.action = static_cast<Action>(action);
  s.speed = static_cast<Speed>(speed);
  s.background = static_cast<Background>(background);
  s.camera = static_cast<Camera>(camera);
  return s;
}

// Letters only: "snow," is "snow".
std::vector<std::string> words_of(std::string text) {
  std::erase(text, ',');
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string w; in >> w;) words.push_back(w);
  return words;
}

TEST(Captions, AreNaturalSentences) {
  Scene s = scene_of(static_cast<int>(Action::moves_left), static_cast<int>(Speed::quickly), static_cast<int>(Background::snow), 0);
  EXPECT_EQ(caption(s), "a person moves left quickly in the snow");
  s.camera = Camera::zooms_in;
  EXPECT_EQ(caption(s, "sks person"), "a sks person moves left quickly in the snow, the camera zooms in");
  EXPECT_EQ(caption(s, "old man").substr(0, 14), "an old man mov");
  EXPECT_EQ(caption(s, "{subject}").substr(0, 11), "a {subject}");
  EXPECT_EQ(photo_caption(s, "sks person"), "a photo of a sks person in the snow");  // neither action nor camera
  EXPECT_EQ(photo_caption(s, "old man"), "a photo of an old man in the snow");
  s.action = Action::stands_still;
  s.camera = Camera::still;
  s.background = Background::sunset;
  EXPECT_EQ(caption(s), "a person stands still at sunset");
}

TEST(Captions, OfDistinctScenesAreDistinctAndMadeOfKnownWords) {
  const auto known = caption_words();
  EXPECT_TRUE(std::is_sorted(known.begin(), known.end()));
  std::set<std::string> seen;
  for (int a = 0; a < actions; ++a) {
    for (int s = 0; s < speeds; ++s) {
      for (int b = 0; b < backgrounds; ++b) {
        for (int c = 0; c < cameras; ++c) {
          const std::string text = caption(scene_of(a, s, b, c));
          seen.insert(text);
          for (const auto& w : words_of(text)) EXPECT_TRUE(std::binary_search(known.begin(), known.end(), w)) << w;
        }
      }
    }
  }
  // Standing still has no speed.
  EXPECT_EQ(seen.size(), static_cast<std::size_t>((actions - 1) * speeds + 1) * backgrounds * cameras);
}

TEST(Captions, DescribeWhatCanBeSeenOfAPerson) {
  Person p;
  p.skin = {0.98f, 0.88f, 0.80f};
  p.hair = {0.78f, 0.27f, 0.08f};
  p.hair_style = HairStyle::long_hair;
  EXPECT_EQ(describe_person(p), "person with pale skin and long red hair");
  p.glasses = Glasses::round;
  p.hat = Hat::cap;
  p.hat_colour = {0.95f, 0.48f, 0.10f};
  EXPECT_EQ(describe_person(p), "person with pale skin, long red hair, round glasses and an orange cap");
  p.hair_style = HairStyle::mohawk;  // hidden under the cap
  EXPECT_EQ(describe_person(p), "person with pale skin, no hair, round glasses and an orange cap");
  p.hat = Hat::none;
  EXPECT_EQ(describe_person(p), "person with pale skin, a red mohawk and round glasses");
  const auto known = caption_words();
  for (std::int64_t i = 0; i < 300; ++i) {
    for (const auto& w : words_of(describe_person(make_person(2, Split::train, i)))) EXPECT_TRUE(std::binary_search(known.begin(), known.end(), w)) << w;
  }
}

TEST(Names, AreTheEnumerators) {
  EXPECT_STREQ(name_of(Action::stands_still), "stands_still");
  EXPECT_STREQ(name_of(Action::spins_head), "spins_head");
  EXPECT_STREQ(name_of(Speed::quickly), "quickly");
  EXPECT_STREQ(name_of(Background::snow), "snow");
  EXPECT_STREQ(name_of(Background::room), "room");
  EXPECT_STREQ(name_of(Camera::still), "still");
  EXPECT_STREQ(name_of(Camera::pans_right), "pans_right");
}

TEST(Prompts, AreTwentyEachAndHeldOut) {
  const auto training = training_prompts(), evaluation = evaluation_prompts();
  ASSERT_EQ(training.size(), 20U);
  ASSERT_EQ(evaluation.size(), 20U);
  for (const auto* list : {&training, &evaluation}) {
    EXPECT_EQ(std::set<std::string>(list->begin(), list->end()).size(), 20U);
    for (const auto& prompt : *list) EXPECT_THAT(prompt, testing::StartsWith("a {subject} "));
  }
  std::set<std::tuple<Action, Speed, Background>> in_training;
  std::set<Action> trained, evaluated;
  for (const Scene& s : training_scenes()) {
    in_training.insert({s.action, s.speed, s.background});
    trained.insert(s.action);
  }
  for (const Scene& s : evaluation_scenes()) {
    EXPECT_EQ(in_training.count({s.action, s.speed, s.background}), 0U) << caption(s);
    evaluated.insert(s.action);
  }
  EXPECT_EQ(trained.size(), static_cast<std::size_t>(actions));
  EXPECT_EQ(evaluated.size(), static_cast<std::size_t>(actions));
}

}  // namespace
}  // namespace magicid::miniature
