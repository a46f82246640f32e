#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "miniature/world.h"

namespace magicid::miniature {
namespace {

std::vector<float> numbers(const Person& p) {
  std::vector<float> out;
  for (const Colour& c : {p.skin, p.hair, p.eyes, p.lips, p.hat_colour, p.glasses_colour}) out.insert(out.end(), {c.red, c.green, c.blue});
  for (const int i :
       {static_cast<int>(p.hair_style), static_cast<int>(p.beard), static_cast<int>(p.hat), static_cast<int>(p.glasses), static_cast<int>(p.mark)})
    out.push_back(static_cast<float>(i));
  out.insert(out.end(),
             {p.face_width, p.jaw, p.eye_distance, p.eye_size, p.eye_height, p.brow_thickness, p.brow_angle, p.nose_size, p.mouth_width, p.ear_size});
  return out;
}

TEST(People, AreFunctionsOfSeedSplitAndIndex) {
  EXPECT_EQ(numbers(make_person(3, Split::train, 17)), numbers(make_person(3, Split::train, 17)));
  EXPECT_NE(numbers(make_person(3, Split::train, 17)), numbers(make_person(4, Split::train, 17)));
  EXPECT_NE(numbers(make_person(3, Split::train, 17)), numbers(make_person(3, Split::train, 18)));
}

TEST(People, NobodyIsTwiceInASplitOrInBoth) {
  std::set<std::vector<float>> seen;
  const std::int64_t n = 2000;
  for (const Split split : {Split::train, Split::test}) {
    for (std::int64_t i = 0; i < n; ++i) seen.insert(numbers(make_person(0, split, i)));
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(2 * n));
}

// Not counting proportions and shades: what a person is told apart by at a glance.
TEST(People, ThousandsAreSeparableByWords) {
  std::set<std::string> descriptions;
  for (std::int64_t i = 0; i < 4000; ++i) descriptions.insert(describe_person(make_person(0, Split::train, i)));
  EXPECT_GT(descriptions.size(), 2500U);
}

TEST(People, EveryChoiceOccursAndNumbersAreInRange) {
  std::set<HairStyle> hair;
  std::set<Beard> beards;
  std::set<Hat> hats;
  std::set<Glasses> glasses;
  std::set<Mark> marks;
  for (std::int64_t i = 0; i < 400; ++i) {
    const Person p = make_person(1, Split::test, i);
    hair.insert(p.hair_style);
    beards.insert(p.beard);
    hats.insert(p.hat);
    glasses.insert(p.glasses);
    marks.insert(p.mark);
    const auto all = numbers(p);
    EXPECT_TRUE(std::all_of(all.begin(), all.begin() + 18, [](float v) { return v >= 0 && v <= 1; }));
    EXPECT_TRUE(std::all_of(all.end() - 10, all.end(), [](float v) { return v >= -1 && v <= 1; }));
  }
  EXPECT_EQ(hair.size(), 8U);
  EXPECT_EQ(beards.size(), 4U);
  EXPECT_EQ(hats.size(), 4U);
  EXPECT_EQ(glasses.size(), 4U);
  EXPECT_EQ(marks.size(), 5U);
}

TEST(Scenes, AreFunctionsOfSeedAndIndexAndCoverEveryChoice) {
  const Person p = make_person(0, Split::train, 0);
  std::set<Action> seen_actions;
  std::set<Speed> seen_speeds;
  std::set<Background> seen_backgrounds;
  std::set<Camera> seen_cameras;
  std::set<std::uint64_t> variations;
  int still = 0;
  for (std::int64_t i = 0; i < 500; ++i) {
    const Scene s = draw_scene(p, 5, i), again = draw_scene(p, 5, i);
    EXPECT_EQ(std::tie(s.action, s.speed, s.background, s.camera, s.variation),
              std::tie(again.action, again.speed, again.background, again.camera, again.variation));
    seen_actions.insert(s.action);
    seen_speeds.insert(s.speed);
    seen_backgrounds.insert(s.background);
    seen_cameras.insert(s.camera);
    variations.insert(s.variation);
    still += s.camera == Camera::still;
    if (s.action == Action::stands_still) {
      EXPECT_EQ(s.speed, Speed::steadily);
    }
  }
  EXPECT_EQ(seen_actions.size(), static_cast<std::size_t>(actions));
  EXPECT_EQ(seen_speeds.size(), static_cast<std::size_t>(speeds));
  EXPECT_EQ(seen_backgrounds.size(), static_cast<std::size_t>(backgrounds));
  EXPECT_EQ(seen_cameras.size(), static_cast<std::size_t>(cameras));
  EXPECT_EQ(variations.size(), 500U);
  EXPECT_GT(still, 300);
}

}  // namespace
}  // namespace magicid::miniature
