#include "models/text/subject.h"

#include <gtest/gtest.h>

namespace magicid::models::text {
namespace {

const SubjectWords subject{.trigger = "sks", .class_name = "woman"};

TEST(Subject, StandsInPromptsWithAndWithoutTrigger) {
  EXPECT_EQ(render_prompt("a {subject} walks, {subject}!", subject, true), "a sks woman walks, sks woman!");
  EXPECT_EQ(render_prompt("a {subject} walks", subject, false), "a woman walks");
  EXPECT_EQ(render_prompt("a dog", subject, true), "a dog");
  EXPECT_EQ(render_prompt("a {subject}", {.trigger = "{subject}", .class_name = "woman"}, true), "a {subject} woman");  // replaced once
}

TEST(Subject, WithoutTriggerForNetworksThatDoNotKnowIt) {
  EXPECT_EQ(without_trigger("a sks woman walks", subject), "a woman walks");
  EXPECT_EQ(without_trigger("a {subject} walks", subject), "a woman walks");
  EXPECT_EQ(without_trigger("a person walks", subject), "a person walks");
}

}  // namespace
}  // namespace magicid::models::text
